"""How much of a photo masks light, as arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIT = 0.4  # of a CAM in 0..1: above it a pixel counts as lit
EMPTY, FULL = 0.005, 0.9  # shares of a photo that are lit: a mask below or above counts as empty or full


def lit_figures(lit_P: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Of the lit share of every mask: the median, and the shares of masks that are empty or full."""
    lit = np.asarray(lit_P, np.float64)
    if not len(lit):
        return {}
    return {
        "lit": float(np.median(lit)),
        "empty": float((lit < EMPTY).mean()),
        "full": float((lit > FULL).mean()),
    }


def lit_share(cam_HW: NDArray[Any]) -> float:
    """The lit share of one CAM (H,W) in 0..1."""
    return float((cam_HW > LIT).mean())
