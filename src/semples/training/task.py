"""What the loop trains: batches in, a loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from semples.networks.pairs import Pairs


def pinned(batch: Any) -> dict[str, Any]:
    """The tensors of a dataclass by name, in pinned memory."""
    values = ((entry.name, getattr(batch, entry.name)) for entry in fields(batch))
    return {name: value.pin_memory() for name, value in values if isinstance(value, Tensor)}


@dataclass(kw_only=True)
class Batch:
    """Photos of one forward pass.

    image: (B,3,S,S) float32, normalised. seed: of randomness that a network draws for the batch as a whole, keyed by
    photo and epoch, so that it does not depend on processes or order.
    """

    image: Tensor
    seed: int = 0

    def pin_memory(self) -> Self:
        """The same in memory that a GPU can fetch by itself; the loader asks for it."""
        return replace(self, **pinned(self))

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        moved: dict[str, Any] = {
            entry.name: value.to(device, non_blocking=True)
            for entry in fields(self)
            if isinstance(value := getattr(self, entry.name), Tensor)
        }
        return replace(self, **moved)


@dataclass(kw_only=True)
class TaggedBatch(Batch):
    """Besides images: tags (B,K) bool, True where a class is present, and noise (B,Z) float32 in [0,1), the randomness
    of the generator, keyed as the seed is. number: of the photos in their dataset, int64 (B,); None: not known. open:
    (B,K) bool, True where it is left open whether a class is present, so that nothing may be learned from it; None
    where no tag is. present: the pairs of photo and class, where they were found before the tags went to a GPU, so that
    nobody has to ask it how many there are."""

    tags: Tensor
    noise: Tensor
    number: Tensor | None = None
    open: Tensor | None = None
    present: Pairs | None = None

    def to(self, device: torch.device) -> Self:
        moved = super().to(device)
        if moved.tags.device == self.tags.device:
            return moved
        return replace(moved, present=Pairs.of(self.tags, self.number).known_on(device))

    @property
    def pairs(self) -> Pairs:
        """The pairs of photo and present class."""
        return Pairs.of(self.tags, self.number) if self.present is None else self.present


B = TypeVar("B", bound=Batch)


class Total(NamedTuple):
    """What a whole optimizer step holds, over all processes and parts: the denominators of its means."""

    photos: int
    pairs: int


class Task(nn.Module, ABC, Generic[B]):
    """Something to train. `forward` returns named scalars: `loss`, which is minimised, and terms to report.

    Every scalar is this batch's *share*: a sum over its photos or pairs divided by the step's total, so that shares
    of all processes and parts add up to the step's mean, however unevenly pairs are spread.
    """

    @abstractmethod
    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that training changes."""

    @abstractmethod
    def forward(self, batch: B, total: Total) -> dict[str, Tensor]:
        """Shares of the loss and its terms; `loss` is differentiable in the trained parameters."""

    def factors(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        """Factors of the learning rate and of the weight decay of a trained parameter."""
        return 1.0, 1.0

    def kept(self) -> dict[str, Tensor]:
        """What training changes beside the trained parameters (running averages), by name; checkpoints hold it too."""
        return {}

    def after_step(self, step: int) -> None:
        """Called in every process after optimizer step `step` (from 1)."""


def share(values: Tensor, total: int) -> Tensor:
    """Sum of `values` over `total`, 0 where there is nothing to average."""
    return values.sum() / max(1, total)
