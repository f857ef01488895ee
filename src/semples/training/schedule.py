"""Learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from semples.recipe import SegmenterSettings, StageSettings
from semples.settings.stages import automatic_steps

REFERENCE_BATCH = 512


def settled(settings: StageSettings, *, photos: int, classes: int, width: int = 0) -> StageSettings:
    """The settings with numbers in place of what depends on photos, classes and network: `steps: auto`
    (`settings.stages.automatic_steps`), and the rate for a generator of `width` channels, where `lr_width` says for how
    many it is meant; width 0: not known, the rate stays.
    """
    changes: dict[str, Any] = {}
    if settings.steps == "auto":
        changes["steps"] = automatic_steps(settings.auto_steps, photos=photos, classes=classes)
    if settings.lr_width and width:
        name = "base_lr" if settings.lr == "base_lr" else "lr"
        changes |= {name: getattr(settings, name) * settings.lr_width / width, "lr_width": 0}
    return replace(settings, **changes)


def full_rate(settings: StageSettings, *, batch: int) -> float:
    """The highest learning rate: `lr`, or base_lr * batch / 512."""
    if isinstance(settings.base_lr, str):
        assert not isinstance(settings.lr, str)
        return settings.lr
    return settings.base_lr * batch / REFERENCE_BATCH


def learning_rate(settings: StageSettings, epoch: int, *, batch: int) -> float:
    """Learning rate of `epoch` (from 0), constant within it, for settings that count epochs.

    `late-cosine`: full * (1 + cos(pi * max(0, e - 1) / epochs)) / 2, so epochs 0 and 1 both run at the full rate and
    the last is not 0 (the published program steps its schedule late). `cosine`: linear rise from warmup_lr over
    warmup_epochs, then the cosine over all epochs between the full rate and final_lr.
    """
    assert not isinstance(settings.epochs, str)
    full = full_rate(settings, batch=batch)
    if settings.schedule == "late-cosine":
        return full * 0.5 * (1 + math.cos(math.pi * max(0, epoch - 1) / settings.epochs))
    if epoch < settings.warmup_epochs:
        return settings.warmup_lr + (full - settings.warmup_lr) * epoch / settings.warmup_epochs
    floor = min(settings.final_lr, full)
    return floor + (full - floor) * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))


def step_rate(settings: StageSettings, step: int, *, steps: int, batch: int) -> float:
    """Learning rate of `step` (from 0) of settings that count steps: linear rise over the share `rise` of them, then
    half a cosine over the others from the full rate down to final_lr."""
    full = full_rate(settings, batch=batch)
    rising = math.floor(settings.rise * steps)
    if step < rising:
        return full * (step + 1) / (rising + 1)
    floor = min(settings.final_lr, full)
    return floor + (full - floor) * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


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
            assert not isinstance(settings.iterations, str), "settle `iterations: auto` first"
            return cls(settings, batch, length=settings.iterations, clip_norm=settings.clip_norm)
        if isinstance(settings.epochs, str):
            assert not isinstance(settings.steps, str), "settle `steps: auto` first"
            return cls(settings, batch, length=settings.steps)
        return cls(settings, batch, epochs=settings.epochs)

    def whole_epochs(self, photos: int) -> int:
        """Passes over so many photos; a last one that is cut short counts."""
        return self.epochs if self.length is None else math.ceil(self.length / (photos // self.batch))

    def rate(self, step: int, *, steps: int, steps_per_epoch: int) -> float:
        """Learning rate of a step (from 0): by step, or by epoch for stages that count these."""
        if isinstance(self.settings, SegmenterSettings):
            return iteration_rate(self.settings, step, steps=steps)
        if self.length is not None:
            return step_rate(self.settings, step, steps=steps, batch=self.batch)
        return learning_rate(self.settings, step // steps_per_epoch, batch=self.batch)


def iteration_rate(settings: SegmenterSettings, step: int, *, steps: int) -> float:
    """Linear rise to `lr` over warmup_iterations, times (1 - step/steps)^power or half a cosine over all steps."""
    rise = min(1.0, (step + 1) / (settings.warmup_iterations + 1))
    done = step / max(1, steps)
    if settings.schedule == "poly":
        return settings.lr * rise * (1 - done) ** settings.power
    return settings.lr * rise * 0.5 * (1 + math.cos(math.pi * done))
