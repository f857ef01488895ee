"""Which device networks compute on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OFF = "ACCELERATE_USE_CPU"  # as accelerate reads it: computes on the processor though there is a GPU


def best_device(*, apple: bool = True) -> torch.device:
    """An NVIDIA (or ROCm) GPU where there is one, else Apple's GPU (MPS), else the processor.

    apple: whether Apple's will do: it knows neither 64-bit floating point nor every operation.
    """
    import torch

    if os.environ.get(OFF, "").casefold() in ("1", "true", "yes", "y", "on"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    alone = int(os.environ.get("WORLD_SIZE", "1")) <= 1  # its processes could not add up their gradients
    if apple and alone and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
