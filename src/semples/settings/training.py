"""Settings of the four training stages, and of training on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Random changes to a training photo, in the order listed."""

    crop_scale: tuple[float, float] = setting(
        (0.08, 1.0), "share of the photo's area a crop keeps", low=0, high=1, source="published program"
    )
    crop_ratio: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "width / height of a crop, log-uniform", low=0.01, high=100, source="published program"
    )
    flip: float = setting(0.5, "probability of a mirror", low=0, high=1, source="published program")
    randaugment_ops: int = setting(
        2, "RandAugment operations per photo; 0: off", low=0, high=100, source="published program"
    )
    randaugment_magnitude: float = setting(9.0, "RandAugment strength", low=0, high=10, source="published program")
    randaugment_std: float = setting(0.5, "its standard deviation", low=0, high=100, source="published program")
    colour_jitter: float = setting(
        0.4,
        "brightness, contrast and saturation factor 1 +- this, only where RandAugment is off",
        low=0,
        high=1,
        source="published program: only without RandAugment",
    )
    erasing: float = setting(
        0.25, "probability of replacing a box by per-pixel noise", low=0, high=1, source="published program"
    )


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One training stage. Loss weights that a stage does not use are ignored by it."""

    epochs: int = setting(
        60,
        "passes over the training photos; 0: pass the weights on untrained",
        low=0,
        high=100_000,
        source="SemPLeS sec. 4.1",
    )
    batch: int = setting(64, "photos per step over all processes", low=1, high=65_536, source="SemPLeS sec. 4.1")
    accumulate: int = setting(1, "parts a step's batch is cut into, to need less memory", low=1, high=65_536)
    base_lr: float = setting(5.12e-4, "learning rate for 512 photos a step; scaled by batch / 512", low=0, high=1000)
    schedule: Literal["late-cosine", "cosine"] = setting(
        "late-cosine",
        "late-cosine: cosine read one epoch late and ending above `final_lr`; cosine: with linear warm-up",
        source="published program",
    )
    warmup_epochs: int = setting(0, "epochs of linear rise (schedule cosine)", low=0, high=100_000)
    warmup_lr: float = setting(1e-6, "learning rate at the start of the rise", low=0, high=1000, source="WeakTr")
    final_lr: float = setting(0.0, "floor of the cosine (schedule cosine)", low=0, high=1000)
    weight_decay: float = setting(
        0.03,
        "AdamW decay on every trained tensor, biases and prompts included",
        low=0,
        high=100,
        source="published program",
    )
    beta1: float = setting(0.9, "AdamW", low=0, high=0.9999)
    beta2: float = setting(0.999, "AdamW", low=0, high=0.99999)
    adam_epsilon: float = setting(1e-8, "AdamW", low=0, high=1)
    lambda_background: float = setting(
        2.4, "weight of the background-view term (lambda_T)", low=0, high=1e6, source="SemPLeS: 2.4 VOC, 0.75 COCO"
    )
    lambda_prompt: float = setting(
        0.02,
        "weight of the prompt-away-from-class term (lambda_P)",
        low=0,
        high=1e6,
        source="SemPLeS: 0.02 VOC, 0.01 COCO",
    )
    lambda_refinement: float = setting(
        0.05, "weight of the background-prompt term (lambda_R)", low=0, high=1e6, source="SemPLeS: 0.05 VOC, 0.2 COCO"
    )
    cam_epsilon: float | Literal["relative"] = setting(
        0.1,
        "added to max - min when a CAM becomes a mask; `relative`: a tenth of max - min itself, "
        "for generators whose CAM values are small",
        low=0,
        high=1000,
        source="published program: 0.1 in matching and refinement, 1e-4 in prompting",
    )
    select_epoch: Literal["last", "auto", "ground-truth"] = setting(
        "last",
        "which epoch's weights matching and refinement pass on: the last, the one of the lowest loss on whole photos, "
        "or the best by pixel masks (which weak labels lack)",
        source="own choice; published program: ground-truth",
    )
    augment: AugmentSettings = field(default_factory=AugmentSettings)


def warmup() -> StageSettings:
    """The defaults of the stage warmup."""
    return StageSettings(base_lr=6e-4, schedule="cosine", warmup_epochs=5, final_lr=1e-5)


def prompting() -> StageSettings:
    """The defaults of the stage prompting."""
    plain = AugmentSettings(randaugment_ops=0, colour_jitter=0.0, erasing=0.0)
    return StageSettings(batch=128, base_lr=0.1, cam_epsilon=1e-4, augment=plain)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How training runs on this machine."""

    seed: int = setting(0, "seed of start weights, order and augmentation", low=0, high=2**32 - 1)
    precision: Literal["no", "bf16", "fp16"] = setting(
        "no", "mixed precision of training", source="published program: half precision on GPU"
    )
    checkpoint_seconds: float = setting(300.0, "time between two checkpoints", unit="seconds", low=0, high=1e9)
    log_every: int = setting(20, "steps between two logged losses", unit="steps", low=1, high=1e9)
