"""What the training stages ask of a mask generator, and the registry of those there are."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from semples.core.errors import UserError
from semples.core.files import atomic_path, check_regular
from semples.networks.weights import load_strictly
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

    def warmup_parameters(self) -> Iterable[torch.nn.Parameter]:
        """What the warm-up trains: everything that `classification_loss` depends on."""
        ...

    def train_parameters(self) -> Iterable[torch.nn.Parameter]:
        """What matching and refinement train. Everything else gets no gradient from `cams`."""
        ...

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Class activation maps (P,h,w) >= 0 of the present pairs only, differentiable in `train_parameters`.

        image: normalised float, height and width at least one patch. noise: uniform in [0,1), None: no randomness.
        """
        ...

    def config_dict(self) -> dict[str, Any]:
        """Plain data with a key `kind`, from which the module's `from_config` builds an equal network."""
        ...

    def classification_loss(self, image_B3HW: Tensor, tags_BK: Tensor, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Multi-label classification loss per photo (B,), differentiable in `warmup_parameters`."""
        ...


GENERATORS: dict[str, str] = {"weaktr": "semples.generators.weaktr"}
"""Module of each generator, with `build(settings, *, num_classes, seed)` and `from_config(config)`."""

CONFIG_KEY = "generator"


def build_generator(settings: GeneratorSettings, *, num_classes: int, seed: int) -> torch.nn.Module:
    """The mask generator that the recipe names, with its start weights. It satisfies `MaskGenerator`."""
    return _module(settings.kind).build(settings, num_classes=num_classes, seed=seed)  # type: ignore[no-any-return]


def save_generator(model: MaskGenerator, path: Path, *, classes: Sequence[str]) -> None:
    """Weights in one safetensors file whose metadata say how to build the network and what its classes are."""
    config = {"config": model.config_dict(), "classes": list(classes)}
    state = model.state_dict()  # type: ignore[attr-defined]
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={CONFIG_KEY: json.dumps(config)})


def is_saved_generator(path: Path) -> bool:
    """Whether the file was written by `save_generator`."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            return CONFIG_KEY in (file.metadata() or {})
    except (SafetensorError, OSError, UserError):
        return False


def load_generator(path: Path) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """A saved generator and its class names. Raises UserError for a file of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            stored = json.loads((file.metadata() or {})[CONFIG_KEY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        config, classes = stored["config"], tuple(stored["classes"])
        model = _module(config["kind"]).from_config(config, num_classes=len(classes))
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a mask generator saved by this program") from None
    load_strictly(model, state, where=str(path))
    return model, classes


def _module(kind: str) -> Any:
    if kind not in GENERATORS:
        raise UserError(f"generator.kind {kind!r} is not known; there are {', '.join(GENERATORS)}")
    return importlib.import_module(GENERATORS[kind])
