"""Checkpoints in a single safetensors file: trained weights, optimizer state and progress, replaced atomically."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from semples.core.errors import UserError
from semples.core.tensorfile import write_tensors


@dataclass
class Progress:
    """Where training stands: the next step, and the sums of the losses not yet logged.

    fingerprint: what the stage was started with; a checkpoint of another one is not resumed. seconds: spent so far.
    """

    fingerprint: str
    step: int = 0
    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def done(self) -> float:
        """Finished share of the training, 0..1."""
        return self.step / max(1, self.steps)


def save_checkpoint(
    path: Path, *, weights: dict[str, Tensor], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write trained tensors by name, optimizer state and progress. Tensors are copied to the CPU."""
    tensors = {f"weights/{name}": value for name, value in weights.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in state.items()}
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}
    write_tensors(path, tensors, about={"progress": json.dumps(asdict(progress))})


def load_progress(path: Path) -> Progress | None:
    """The progress stored in a checkpoint, or None where there is none."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a checkpoint of this program; delete it to start this step anew") from None


def load_checkpoint(path: Path, *, weights: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors into `weights` (in place) and `optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file, torch.no_grad():
        for name in file.keys():  # noqa: SIM118 (not a dictionary)
            kind, rest = name.split("/", 1)
            value = file.get_tensor(name)
            if kind == "weights":
                weights[rest].copy_(value)
            else:
                index, key = rest.split("/")
                state.setdefault(int(index), {})[key] = value
    described = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": described["param_groups"]})
