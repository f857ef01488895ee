"""Settings of training on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semples.core.schema import setting

Trackers = Literal["auto", "none"] | tuple[Literal["tensorboard", "wandb", "mlflow"], ...]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How training runs on this machine."""

    seed: int = setting(0, "seed of start weights, order and augmentation", low=0, high=2**32 - 1)
    precision: Literal["auto", "no", "bf16", "fp16"] = setting(
        "auto",
        "mixed precision of training; auto: bf16 on a GPU that has it, fp16 on another, none on a processor",
        source="published program: half precision on GPU",
    )
    inference: Literal["no", "bf16", "fp16"] = setting(
        "no", "precision of CAMs, of judged masks and of the choice of an epoch; no: float32", source="own choice"
    )
    tf32: bool = setting(False, "float32 products in TF32 on GPUs that have it: faster, 10 bits of 23")
    compile: bool = setting(
        False, "torch.compile of what trains: fewer and larger operations; needs a C++ compiler, minutes at first"
    )
    checkpoint_seconds: float = setting(
        300.0, "time between two checkpoints", unit="seconds", low=0, high=1e9, neutral=True
    )
    careful_minutes: float = setting(
        10.0,
        "steps that took longer in all are not made anew without --update or --from; 0: none is",
        unit="minutes",
        low=0,
        high=1e9,
        source="own choice",
        neutral=True,
    )
    log_every: int = setting(20, "steps between two logged losses", unit="steps", low=1, high=1e9, neutral=True)
    wait_hours: float = setting(
        24.0,
        "how long processes wait for one that does alone what cannot be shared",
        unit="hours",
        low=1e-4,
        high=8760,
        neutral=True,
    )
    trackers: Trackers = setting(
        "auto",
        "where curves of training are shown: some of tensorboard, wandb, mlflow; auto: tensorboard where installed",
        neutral=True,
    )
