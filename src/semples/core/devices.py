"""Which device networks compute on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from semples.core.errors import UserError

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


def check_cards() -> None:
    """Raises UserError where this machine has more processes than GPUs: each computes on one of its own."""
    import torch

    here, cards = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if best_device().type == "cuda" and here > cards:
        raise UserError(
            f"{here} processes on this machine, which has {cards} {'GPU' if cards == 1 else 'GPUs'}; start {cards} "
            f"(--nproc-per-node {cards}), or set {OFF}=1 to compute on the processor"
        )


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
