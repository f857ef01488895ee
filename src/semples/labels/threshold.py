"""Label maps from class activation maps and one background threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MAX_CLASS = 253  # label values are class index + 1, and 255 means "not labelled"


def winner_map(
    cams: Mapping[int, NDArray[np.float32]], shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The class with the largest CAM at every pixel, and that CAM.

    `cams`: {class index (0-based): float32 (H,W)}; `shape`: (H,W). Returns label values (class index + 1), uint8
    (H,W), and the CAM, float32 (H,W). Among equal CAMs the first in the dictionary wins. With no class: label
    0 and minus infinity.
    Raises ValueError when a map has another shape or dtype, or a class index is outside 0..253.
    """
    winner = np.zeros(shape, np.uint8)
    value = np.full(shape, -np.inf, np.float32)
    for index, cam in cams.items():
        if cam.shape != shape or cam.dtype != np.float32:
            raise ValueError(f"CAM of class {index} must be float32 {shape}, not {cam.dtype} {cam.shape}")
        if not 0 <= index <= MAX_CLASS:
            raise ValueError(f"class index {index} is outside 0..{MAX_CLASS}")
        np.copyto(winner, np.uint8(index + 1), where=cam > value)
        np.maximum(value, cam, out=value)
    return winner, value


def label_map(
    cams: Mapping[int, NDArray[np.float32]], shape: tuple[int, int], *, threshold: float
) -> NDArray[np.uint8]:
    """Labels, uint8 (H,W): the winning class where its CAM exceeds `threshold`, else 0 (background).

    The threshold is compared in float32, so a CAM equal to it is background.
    """
    winner, value = winner_map(cams, shape)
    winner[~(value > np.float32(threshold))] = 0
    return winner
