"""Running averages of trained weights: a teacher that changes more slowly than what is trained (arXiv 1703.01780)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from semples.core.errors import UserError


class Averages:
    """average += (1 - d) (weights - average) after every step, d = min(decay, (1 + step) / (10 + step)), so that it
    starts fast. A decay of 0 keeps none."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._tensors: list[Tensor] = []

    def of(self, parameters: Iterable[nn.Parameter]) -> dict[str, Tensor]:
        """The averages of these parameters by name, which checkpoints hold and fill again."""
        if self.decay > 0 and not self._tensors:
            self._tensors = [parameter.detach().clone() for parameter in parameters]
        return {f"average.{place}": tensor for place, tensor in enumerate(self._tensors)}

    @torch.no_grad()
    def step(self, parameters: Iterable[nn.Parameter], step: int) -> None:
        """Take up the weights after optimizer step `step` (from 1)."""
        if self.decay > 0:
            parameters = list(parameters)
            self.of(parameters)
            decay = min(self.decay, (1 + step) / (10 + step))
            for tensor, parameter in zip(self._tensors, parameters, strict=True):
                tensor.lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def put_into(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the weights by their averages, where there are any."""
        if self._tensors:
            for tensor, parameter in zip(self._tensors, parameters, strict=True):
                parameter.copy_(tensor)


def check_averages(settings: Any) -> None:
    """Refuse averages beside a choice among epochs, which keeps the weights themselves."""
    if settings.average > 0 and settings.select_epoch != "last":
        raise UserError(
            f"{settings.kind}.average {settings.average} passes on averaged weights, select_epoch "
            f"{settings.select_epoch} those of one epoch; set one of them back"
        )
