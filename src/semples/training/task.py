"""What the loop trains: batches in, a loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass
class Batch:
    """Photos of one forward pass.

    image: (B,3,S,S) float32, normalised. tags: (B,K) bool, True where a class is present. noise: (B,Z) float32 in
    [0,1), the randomness of the generator, keyed by photo and epoch so that it does not depend on processes or order.
    """

    image: Tensor
    tags: Tensor
    noise: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.image.to(device, non_blocking=True), self.tags.to(device), self.noise.to(device))


class Total(NamedTuple):
    """What a whole optimizer step holds, over all processes and parts: the denominators of its means."""

    photos: int
    pairs: int


class Task(nn.Module, ABC):
    """A training stage. `forward` returns named scalars: `loss`, which is minimised, and terms to report.

    Every scalar is this batch's *share*: a sum over its photos or pairs divided by the step's total, so that shares
    of all processes and parts add up to the step's mean, however unevenly pairs are spread.
    """

    @abstractmethod
    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that this stage changes."""

    @abstractmethod
    def forward(self, batch: Batch, total: Total) -> dict[str, Tensor]:
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
