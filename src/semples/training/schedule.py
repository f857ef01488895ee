"""Learning rates."""

from __future__ import annotations

import math

from semples.recipe import StageSettings

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
