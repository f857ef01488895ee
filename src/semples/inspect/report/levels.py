"""CAM values as bytes, such that a comparison with any threshold in hundredths survives exactly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from semples.labels.threshold import winner_map

STEPS = 100  # thresholds are 0, 1/100, ... 1
EDGES = (np.arange(STEPS + 1) / STEPS).astype(np.float32)  # compared in float32, as label maps are made
LEVELS = np.arange(STEPS + 1) * 255 // STEPS  # a byte above LEVELS[i] means a value above i/100


def steps_below(values: NDArray[np.float32]) -> NDArray[np.intp]:
    """How many of the thresholds 0/100..100/100 lie strictly below each value; 0..101."""
    return np.searchsorted(EDGES, values, side="left")


def to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """CAM values in 0..1 as bytes of the same order: `byte > LEVELS[i]` exactly where `value > float32(i / 100)`.

    Between two thresholds the two or three bytes are dealt evenly, so a byte / 255 is within 0.01 of its value.
    """
    clipped = np.clip(values, 0, 1)
    upper = steps_below(clipped)
    lower = np.maximum(upper - 1, 0)
    span = LEVELS[upper] - LEVELS[lower]
    width = np.maximum(EDGES[upper] - EDGES[lower], 1e-6)
    part = np.ceil((clipped - EDGES[lower]) / width * span).astype(np.intp)
    levels: NDArray[np.uint8] = (LEVELS[lower] + np.clip(part, np.minimum(span, 1), span)).astype(np.uint8)
    return levels


def cam_bytes(cams: Mapping[int, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """CAMs {class index: float32 (H,W)} as uint8 (K,H,W) in the order of the dictionary, at least one class.

    The largest byte at a pixel belongs to the class that wins there, and to no other: where another class would get
    the winner's byte it gets one less.
    """
    levels = np.stack([to_bytes(cam) for cam in cams.values()])
    shape = levels.shape[1:]
    winner, value = winner_map(cams, (shape[0], shape[1]))
    top = to_bytes(value)
    for row, index in zip(levels, cams, strict=True):
        loses = (winner != index + 1) & (row >= top) & (row > 0)
        row[loses] -= 1
    return levels
