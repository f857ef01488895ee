"""Outlines of things (polygons, run-length codes) drawn into label maps.

Polygons are drawn by `pycocotools`, since published masks were. Run-length codes are decoded here, with every length
checked: a code that does not fill its photo exactly is refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import write_bytes
from semples.core.palette import voc_palette

MAX_PIXELS = 100_000_000
MAX_LENGTH = 5_000_000  # pixels along the edge of one thing
MAX_RUNS = 20_000_000
FAR = 4  # polygons may reach this many photo sizes beyond the photo


class OutlineError(Exception):
    """An outline cannot be drawn; the message is the reason."""


@runtime_checkable
class Drawable(Protocol):
    """An outline of another kind than COCO's, such as a polygon with holes."""

    def inside(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) bool of a photo of `size` (width, height). Raises OutlineError."""
        ...


def require_pycocotools() -> Any:
    """The `pycocotools.mask` module. Raises UserError where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise UserError("drawing polygons needs pycocotools; pip install 'semples[coco]'") from None
    return mask


def draw(size: tuple[int, int], things: Iterable[tuple[int, Any]]) -> NDArray[np.uint8]:
    """Label map (H, W) uint8 of `things`, each a label 1..254 and its outline; 0 elsewhere.

    `size` is (width, height) in pixels. Of things that overlap the first lies on top. An outline is COCO's
    `segmentation`: a list of polygons [x1, y1, x2, y2, ...] in pixels, or a run-length code {"size": [H, W],
    "counts": numbers or text}, or a `Drawable`. Raises OutlineError.
    """
    width, height = size
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise OutlineError(f"a photo of {width}x{height} pixels cannot be drawn")
    labels = np.zeros((height, width), np.uint8)
    for label, outline in things:
        if isinstance(outline, Drawable):
            inside = outline.inside(size)
        else:
            inside = decode_rle(outline, size) if isinstance(outline, dict) else draw_polygons(outline, size)
        labels[inside & (labels == 0)] = label
    return labels


def draw_polygons(polygons: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool: the union of polygons, as pycocotools draws them; those of less than three corners have no area."""
    mask = require_pycocotools()
    width, height = size
    usable = []
    length = 0.0
    for polygon in polygons if isinstance(polygons, list) else [None]:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(_is_number, polygon)):
            raise OutlineError("a polygon must be a list of numbers x1, y1, x2, y2, ...")
        length += sum(abs(after - before) for before, after in zip(polygon, polygon[2:] + polygon[:2], strict=True))
        if length > MAX_LENGTH:
            raise OutlineError("a polygon with an endless edge")
        if any(abs(value) > FAR * max(width, height) for value in polygon):
            raise OutlineError("a polygon reaches far beyond its photo")
        if len(polygon) >= 6:
            usable.append([float(value) for value in polygon])
    if not usable:
        return np.zeros((height, width), np.bool_)
    drawn: NDArray[np.uint8] = mask.decode(mask.merge(mask.frPyObjects(usable, height, width)))
    return drawn.astype(np.bool_)


def decode_rle(code: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) bool of COCO's run-length code, numbers or compressed text: runs of 0 and 1 in turn, by columns."""
    width, height = size
    if code.get("size") != [height, width]:
        raise OutlineError(f"a run-length code for {code.get('size')!r} in a photo of [{height}, {width}]")
    counts = code.get("counts")
    if isinstance(counts, str):
        counts = _unpack_counts(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise OutlineError("a run-length code must be a list of numbers, or its text")
    if sum(counts) != width * height:
        raise OutlineError("a run-length code that does not fill its photo")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def _unpack_counts(text: str) -> list[int]:
    """Numbers of COCO's compressed text: five bits a character, lowest first, the sixth says that more follow, the
    fifth of the last is the sign; from the fourth number on, the difference to the number two places before."""
    if len(text) > MAX_RUNS:
        raise OutlineError("a run-length code that is too long")
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise OutlineError("a run-length code with a damaged text")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise OutlineError("a run-length code that is cut off")
    return counts


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9  # NaN is not


@cache
def _palette() -> bytes:
    return voc_palette().tobytes()


def write_labels(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write a label map (H, W) uint8 as an indexed PNG in VOC's colours."""
    image = Image.fromarray(np.ascontiguousarray(labels))
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    with disk_trouble(path):
        write_bytes(path, buffer.getvalue())
