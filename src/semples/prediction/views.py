"""Where a photo is looked at: its size for the network, whole or by windows, both sides by one factor.

Shape suffixes: h x w the photo as it is looked at, in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.data.photos import resize_photo
from semples.data.transforms import image_to_tensor

RGB = tuple[float, float, float]
Size = tuple[int, int]  # (height, width)

LONGEST = 4  # a photo with longer sides than this many shorter ones is a strip: windows go along it
MOST_ENLARGED = 1 << 26  # a view has no more pixels than this, or than its photo
WHOLE = 1 << 24  # a resized photo of more pixels is made by rows, as they are asked for
SUPPORT = 2  # pixels that the bicubic filter reaches on either side


def multiple_of(length: float, step: int, *, least: int = 0) -> int:
    """The whole multiple of `step` nearest to `length`, at least `step` and `least`."""
    return max(step, -(-least // step) * step, round(length / step) * step)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How photos are looked at.

    step: sides of views are whole multiples of it. least: the shortest side that the network takes. short: the shorter
    side at scale 1; None: the photo's own resolution. window, stride: of windows in pixels; None: the whole photo.
    """

    step: int
    least: int
    short: int | None
    window: int | None = None
    stride: int | None = None

    def size(self, width: int, height: int, *, scale: float) -> Size:
        """(height, width) that a photo is resized to. Both sides by one factor, but for the rounding to `step`."""
        shorter = min(width, height)
        factor = scale * (1.0 if self.short is None else self.short / shorter)
        if factor > 1:
            factor = max(1.0, min(factor, math.sqrt(MOST_ENLARGED / (width * height))))
        factor = max(factor, (self.window or self.least) / shorter)
        longest = MOST_ENLARGED / (self.window or self.least)  # of a photo of a few pixels by thousands
        sides = (min(side * factor, longest) for side in (height, width))
        tall, wide = (multiple_of(side, self.step, least=self.window or self.least) for side in sides)
        return tall, wide

    def windows(self, size: Size) -> tuple[Size, Size] | None:
        """(height, width) of the windows of a view, and of the way from one to the next; None: it is seen whole."""
        if self.window is not None:
            stride = self.stride or multiple_of(self.window // 2, self.step)
            return (self.window, self.window), (stride, stride)
        shorter, longer = min(size), max(size)
        if longer <= LONGEST * shorter + self.step:
            return None
        window = (min(size[0], LONGEST * shorter), min(size[1], LONGEST * shorter))
        half = multiple_of(LONGEST * shorter // 2, self.step)
        return window, (min(window[0], half), min(window[1], half))


class View:
    """A photo, uint8 (H,W,3), resized to `size`: at once where it is small, else by rows as they are asked for.

    photo: as it was given.
    """

    def __init__(self, photo: NDArray[np.uint8], size: Size, *, mean: RGB, std: RGB) -> None:
        self.size = size
        self.photo = photo
        self._photo = photo
        self._mean, self._std = mean, std
        if size != photo.shape[:2] and size[0] * size[1] <= WHOLE:
            self._photo = resize_photo(photo, size[1], size[0])
        self._last: tuple[int, int, NDArray[np.uint8]] | None = None

    @property
    def is_strip_of_rows(self) -> bool:
        """Whether rows are resized when they are asked for."""
        return self._photo.shape[:2] != self.size

    def rows(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows `top` to `bottom` of the view, uint8 (bottom - top, w, 3)."""
        if not self.is_strip_of_rows:
            return self._photo[top:bottom]
        if self._last is None or self._last[:2] != (top, bottom):
            self._last = top, bottom, self._resized(top, bottom)
        return self._last[2]

    def _resized(self, top: int, bottom: int) -> NDArray[np.uint8]:
        height = self._photo.shape[0]
        scale = height / self.size[0]
        beside = math.ceil(SUPPORT * max(1.0, scale)) + 1
        first, last = max(0, math.floor(top * scale) - beside), min(height, math.ceil(bottom * scale) + beside)
        box = (0, top * scale - first, self._photo.shape[1], bottom * scale - first)
        part = Image.fromarray(self._photo[first:last])
        return np.asarray(part.resize((self.size[1], bottom - top), Image.Resampling.BICUBIC, box=box))

    def cut(self, top: int, left: int, window: Size) -> Tensor:
        """A window of the view as the network takes it: normalised (3, h, w)."""
        rows = self.rows(top, top + window[0])
        return image_to_tensor(rows[:, left : left + window[1]], self._mean, self._std)

    def whole(self) -> Tensor:
        """The view as the network takes it: normalised (3, h, w)."""
        return self.cut(0, 0, self.size)
