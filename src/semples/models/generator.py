"""What the training stages ask of a mask generator, and the registry of those there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from semples.errors import UserError
from semples.recipe import GeneratorSettings


@dataclass(frozen=True)
class Pairs:
    """The (photo, present class) pairs of a batch in row-major order of the tags: two int64 tensors of length P."""

    photo: Tensor
    label: Tensor

    @classmethod
    def of(cls, tags_BK: Tensor) -> Pairs:
        photo, label = tags_BK.nonzero(as_tuple=True)
        return cls(photo, label)

    def __len__(self) -> int:
        return len(self.photo)


@runtime_checkable
class MaskGenerator(Protocol):
    """A torch module that turns tagged photos into class activation maps.

    A new one is a file in this package and a line in `GENERATORS`; the contract tests pick it up from there.
    """

    num_classes: int
    patch_size: int
    noise_size: int
    """How many uniform random numbers per photo its train mode consumes (stochastic depth); 0 for none."""

    def train_parameters(self) -> Iterable[torch.nn.Parameter]:
        """What matching and refinement train. Everything else gets no gradient from `cams`."""
        ...

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Class activation maps (P,h,w) >= 0 of the present pairs only, differentiable in `train_parameters`.

        image: normalised float, height and width at least one patch. noise: uniform in [0,1), None: no randomness.
        """
        ...

    def classification_loss(self, image_B3HW: Tensor, tags_BK: Tensor, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Multi-label classification loss per photo (B,), differentiable in all parameters: the warm-up."""
        ...


def _weaktr(settings: GeneratorSettings, num_classes: int, seed: int) -> torch.nn.Module:
    from semples.models.weaktr import build_weaktr

    return build_weaktr(settings, num_classes=num_classes, seed=seed)


GENERATORS: dict[str, Callable[[GeneratorSettings, int, int], torch.nn.Module]] = {"weaktr": _weaktr}


def build_generator(settings: GeneratorSettings, *, num_classes: int, seed: int) -> torch.nn.Module:
    """The mask generator that the recipe names, with its start weights. It satisfies `MaskGenerator`."""
    if settings.kind not in GENERATORS:
        raise UserError(f"generator.kind {settings.kind!r} is not known; there are {', '.join(GENERATORS)}")
    return GENERATORS[settings.kind](settings, num_classes, seed)
