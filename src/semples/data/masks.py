"""Masks of photos that their EXIF data turn: drawn upright, or as the sensor has the pixels.

Where the turned photo has another size, that of the mask tells. Where it has not (half a turn, a mirror, a square), the
mask lies as the data's other masks do whose size tells, and upright where none does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semples.data.photos import PhotoError, probe_turn, read_mask, turned

Way = Literal["upright", "sensor", "unknown"]
QUARTER = 5  # EXIF orientations from here on are turned by a quarter


def way_of(mask: tuple[int, int], photo: tuple[int, int], orientation: int) -> Way:
    """Which way up a mask of (width, height) is, beside an upright photo of (width, height) with that orientation."""
    if orientation == 1:
        return "upright"
    if orientation >= QUARTER and photo[0] != photo[1]:
        return "sensor" if mask == photo[::-1] else "upright"
    return "unknown"


def upright_mask(
    mask: Path, photo: Path, *, max_megapixels: float, way: Callable[[], Way] = lambda: "unknown"
) -> NDArray[np.uint8]:
    """(H, W) uint8 values of a mask, upright and of the upright photo's size. Raises PhotoError.

    way: how the data's other masks lie, asked where this one's size does not tell.
    """
    size, orientation = probe_turn(photo, max_megapixels=max_megapixels)
    if orientation == 1:
        return read_mask(mask, size=size, max_megapixels=max_megapixels)
    labels = read_mask(mask, max_megapixels=max_megapixels)
    how = way_of((labels.shape[1], labels.shape[0]), size, orientation)
    if how == "unknown":
        how = way()
    if how == "sensor":
        labels = turned(labels, orientation)
    if labels.shape != (size[1], size[0]):
        raise PhotoError(
            f"{mask}: the mask is {labels.shape[1]}x{labels.shape[0]} pixels but its photo {size[0]}x{size[1]}; "
            "save both at the same size"
        )
    return labels
