"""A photo under the colours of its label map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.palette import colour
from semples.data.photos import resize_photo


def overlay(
    photo: NDArray[np.uint8], labels: NDArray[np.uint8], *, max_side: int, opacity: float = 0.5
) -> NDArray[np.uint8]:
    """The photo (H, W, 3) uint8, made smaller where it is long, with the labels' colours (H, W) over it.

    The photo may be a smaller copy already. opacity: of the colours, 0..1; background has none.
    """
    height, width = labels.shape
    factor = min(1.0, max_side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size != (width, height):
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    if size != (photo.shape[1], photo.shape[0]):
        photo = resize_photo(photo, *size)
    share = np.where(labels > 0, opacity, 0.0)[..., None]
    mixed: NDArray[np.uint8] = np.rint(photo * (1 - share) + colour(labels) * share).astype(np.uint8)
    return mixed
