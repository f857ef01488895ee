"""Warm-up: the mask generator learns to classify from tags, as its own method trains it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from torch import Tensor, nn

from semples.evaluation.verdict import Verdict
from semples.evaluation.verdicts import Figures, of_warmup
from semples.generators.base import Generator
from semples.recipe import WarmupSettings
from semples.stages.base import Parts, Stage
from semples.training.task import TaggedBatch, Total, share


class Warmup(Stage):
    """Trains all that the generator classifies with on its classification loss, averaged over photos."""

    Settings = WarmupSettings

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    @classmethod
    def of_run(cls, parts: Parts, settings: WarmupSettings) -> Self:
        return cls(parts.new_generator())

    @classmethod
    def verdict(cls, figures: Figures, before: Figures, data: Figures) -> Verdict:
        return of_warmup(figures)

    def trained(self) -> Iterable[nn.Parameter]:
        return self.generator.warmup_parameters()

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        unsure = {} if batch.open is None else {"open_BK": batch.open}
        losses_B = self.generator.classification_loss(batch.image, batch.tags, noise_BZ=batch.noise, **unsure)
        return {"loss": share(losses_B, total.photos)}
