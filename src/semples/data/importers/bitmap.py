"""Small pictures of single things (LabelMe's and Supervisely's masks) as run-length codes of their photo."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

MAX_PIXELS = 100_000_000


class BitmapError(Exception):
    """A picture cannot be read; the message is the reason."""


def bitmap(data: bytes, corner: tuple[float | None, float | None], size: tuple[int, int]) -> dict[str, Any]:
    """The drawn pixels of a PNG whose upper left corner lies at `corner`, as COCO's code for a photo of `size` (W, H).

    What reaches beyond the photo is cut off. Raises BitmapError.
    """
    width, height = size
    if corner[0] is None or corner[1] is None or width * height > MAX_PIXELS:
        raise BitmapError("a picture of a thing without a place")
    left, top = round(corner[0]), round(corner[1])
    drawn = _pixels(data)
    whole = np.zeros((height, width), np.bool_)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + drawn.shape[1], width), min(top + drawn.shape[0], height)
    if x1 > x0 and y1 > y0:
        whole[y0:y1, x0:x1] = drawn[y0 - top : y1 - top, x0 - left : x1 - left]
    return code_of(whole)


def code_of(drawn: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's run-length code {"size": [H, W], "counts": numbers} of (H, W) bool."""
    flat = drawn.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(drawn.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def _pixels(data: bytes) -> NDArray[np.bool_]:
    """(H, W) bool: where a PNG is drawn: by its transparency where it has one, else where it is not black."""
    try:
        with (
            warnings.catch_warnings(),
            Image.open(io.BytesIO(data), formats=[PngImagePlugin.PngImageFile.format]) as image,
        ):
            warnings.simplefilter("ignore")
            if image.width * image.height > MAX_PIXELS:
                raise BitmapError("a picture of a thing that is too large")
            if image.mode in ("RGBA", "LA") or "transparency" in image.info:
                return np.asarray(image.convert("RGBA"))[..., 3] > 0
            return np.asarray(image.convert("L" if image.mode != "P" else "P")) > 0
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise BitmapError(f"a picture of a thing that cannot be read ({error})") from None
