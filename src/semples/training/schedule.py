"""Learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from semples.recipe import SegmenterSettings, StageSettings

REFERENCE_BATCH = 512


def learning_rate(settings: StageSettings, epoch: int, *, batch: int) -> float:
    """Learning rate of `epoch` (from 0), constant within it.

    Full rate: base_lr * batch / 512. `late-cosine`: full * (1 + cos(pi * max(0, e - 1) / epochs)) / 2, so epochs 0 and
    1 both run at the full rate and the last is not 0 (the published program steps its schedule late). `cosine`: linear
    rise from warmup_lr over warmup_epochs, then the cosine over all epochs between the full rate and final_lr.
    """
    full = settings.base_lr * batch / REFERENCE_BATCH
    if settings.schedule == "late-cosine":
        return full * 0.5 * (1 + math.cos(math.pi * max(0, epoch - 1) / settings.epochs))
    if epoch < settings.warmup_epochs:
        return settings.warmup_lr + (full - settings.warmup_lr) * epoch / settings.warmup_epochs
    floor = min(settings.final_lr, full)
    return floor + (full - floor) * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))


@dataclass(frozen=True)
class Course:
    """How long training lasts and how fast it goes.

    epochs: passes over the photos; length: steps, where these are counted instead. batch: photos a step. clip_norm:
    largest norm of the gradient, 0 for any.
    """

    settings: StageSettings | SegmenterSettings
    batch: int
    epochs: int = 0
    length: int | None = None
    clip_norm: float = 0.0

    @classmethod
    def of(cls, settings: StageSettings | SegmenterSettings, *, photos: int) -> Course:
        """The course that the settings say, with so many photos: a batch is never larger."""
        batch = min(settings.batch, photos)
        if isinstance(settings, SegmenterSettings):
            return cls(settings, batch, length=settings.iterations, clip_norm=settings.clip_norm)
        return cls(settings, batch, epochs=settings.epochs)

    def rate(self, step: int, *, steps: int, steps_per_epoch: int) -> float:
        """Learning rate of a step (from 0): by epoch for the stages, by step for the segmenter."""
        if isinstance(self.settings, SegmenterSettings):
            return iteration_rate(self.settings, step, steps=steps)
        return learning_rate(self.settings, step // steps_per_epoch, batch=self.batch)


def iteration_rate(settings: SegmenterSettings, step: int, *, steps: int) -> float:
    """Linear rise to `lr` over warmup_iterations, times (1 - step/steps)^power or half a cosine over all steps."""
    rise = min(1.0, (step + 1) / (settings.warmup_iterations + 1))
    done = step / max(1, steps)
    if settings.schedule == "poly":
        return settings.lr * rise * (1 - done) ** settings.power
    return settings.lr * rise * 0.5 * (1 + math.cos(math.pi * done))
