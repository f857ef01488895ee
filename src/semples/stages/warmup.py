"""Warm-up: the mask generator learns to classify from tags, as its own method trains it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from semples.generators.base import MaskGenerator
from semples.training.task import Batch, Task, Total, share


class Warmup(Task):
    """Trains all that the generator classifies with on its classification loss, averaged over photos."""

    def __init__(self, generator: MaskGenerator) -> None:
        super().__init__()
        self.generator = generator

    def trained(self) -> Iterable[nn.Parameter]:
        return self.generator.warmup_parameters()

    def forward(self, batch: Batch, total: Total) -> dict[str, Tensor]:
        losses_B = self.generator.classification_loss(batch.image, batch.tags, noise_BZ=batch.noise)
        return {"loss": share(losses_B, total.photos)}
