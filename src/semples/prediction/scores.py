"""Where a photo is looked at (scales, mirror, windows) and how its scores become a label map of its own size.

Shape suffixes: C = K + 1 values (0 background, class k is k + 1), h x w the network's own output, H x W the photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

LONGEST = 4  # a whole photo's longer side is at most this many times the shorter side that the model resizes to
LARGEST_WINDOWED = 4096  # longer side of a photo that windows slide over, pixels
STRIP = 1 << 24  # scores that are enlarged at a time

Scorer = Callable[[Tensor], Tensor]  # images (B,3,h,w) to probabilities (B,C,h',w')


def multiple_of(length: float, step: int, *, least: int = 0) -> int:
    """The whole multiple of `step` nearest to `length`, at least `step` and `least`."""
    return max(step, -(-least // step) * step, round(length / step) * step)


def view_size(
    width: int, height: int, *, scale: float, short: int | None, window: int | None, step: int
) -> tuple[int, int]:
    """(width, height) that a photo is resized to, both whole multiples of `step`.

    `short`: the shorter side at scale 1, with the longer one bounded; None: the photo's own resolution, bounded.
    `window`: the least that both sides have.
    """
    factor = short / min(width, height) if short is not None else 1.0
    longest = (LONGEST * short if short is not None else LARGEST_WINDOWED) / max(width, height)
    factor = scale * min(factor, longest)
    least = window or step
    return multiple_of(width * factor, step, least=least), multiple_of(height * factor, step, least=least)


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side of `length` >= `window`: every `stride`, and the last flush with the end."""
    return [*range(0, length - window, stride), length - window]


def mirrored(score: Scorer) -> Scorer:
    """Mean of the scores of images and of their mirrors, turned back."""

    def both(images_B3hw: Tensor) -> Tensor:
        straight, mirror = score(torch.cat([images_B3hw, images_B3hw.flip(-1)])).chunk(2)
        return (straight + mirror.flip(-1)) / 2

    return both


def windowed(score: Scorer, *, window: int, stride: int, batch: int) -> Scorer:
    """Mean of the scores of the windows that cover each place; `batch` windows are computed together.

    All windows share one grid of cells; where the network's own output does not fit one, it is resized to a quarter of
    the window.
    """

    def slide(images_B3HW: Tensor) -> Tensor:
        height, width = images_B3HW.shape[-2:]
        places = [
            (image, top, left)
            for image in range(len(images_B3HW))
            for top in window_starts(height, window, stride)
            for left in window_starts(width, window, stride)
        ]
        summed_BChw = count_hw = torch.empty(0)
        for first in range(0, len(places), batch):
            some = places[first : first + batch]
            cuts = [images_B3HW[image, :, top : top + window, left : left + window] for image, top, left in some]
            scores = _on_grid(score(torch.stack(cuts)), window=window, stride=stride, lengths=(height, width))
            side = scores.shape[-1]
            cell = window // side
            if not summed_BChw.numel():
                shape = (len(images_B3HW), scores.shape[1], height // cell, width // cell)
                summed_BChw, count_hw = scores.new_zeros(shape), scores.new_zeros(shape[-2:])
            for (image, top, left), found in zip(some, scores, strict=True):
                rows = slice(top // cell, top // cell + side)
                columns = slice(left // cell, left // cell + side)
                summed_BChw[image, :, rows, columns] += found
                if image == 0:
                    count_hw[rows, columns] += 1
        return summed_BChw / count_hw

    return slide


def _on_grid(scores_BChw: Tensor, *, window: int, stride: int, lengths: tuple[int, int]) -> Tensor:
    """The scores of windows with a whole number of pixels a cell, such that all windows share one grid."""
    height, width = scores_BChw.shape[-2:]
    shared = math.gcd(window, stride, *lengths)
    if height == width and window % height == 0 and shared % (window // height) == 0:
        return scores_BChw
    side = window // next(cell for cell in (4, 2, 1) if shared % cell == 0)
    return F.interpolate(scores_BChw, size=(side, side), mode="bilinear", align_corners=False)


# ------------------------------------------------------------------------------------------------------------ labels


def labels_from_scores(
    scores_Chw: Tensor, size: tuple[int, int], *, values: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """Label map (H,W) uint8 of `size` from scores of any resolution: enlarged bilinearly, then the largest wins.

    values: the labels that may occur, ascending; None: all. Equal to `F.interpolate(...).argmax(0)`, but only a strip
    of enlarged scores is ever held, so that a photo of 100 megapixels needs no more than one of 10.
    """
    chosen = tuple(range(len(scores_Chw))) if values is None else values
    if values is not None:
        scores_Chw = scores_Chw[list(values)]
    height, width = size
    labels = np.empty(size, np.uint8)
    table = torch.tensor(chosen, dtype=torch.uint8)
    count, rows, _ = scores_Chw.shape
    # As F.interpolate (align_corners False): row y of the labels lies at (y + 1/2) * rows / height - 1/2.
    at = ((torch.arange(height, dtype=torch.float64) + 0.5) * rows / height - 0.5).clamp_min(0)
    above = at.floor().long().clamp_max(rows - 1)
    below = (above + 1).clamp_max(rows - 1)
    share = (at - above).to(scores_Chw.dtype)[None, :, None]
    strip = max(1, STRIP // (count * max(width, 1)))
    for top in range(0, height, strip):
        part = slice(top, min(height, top + strip))
        mixed = torch.lerp(scores_Chw[:, above[part]], scores_Chw[:, below[part]], share[:, part])
        if mixed.shape[-1] != width:
            mixed = F.interpolate(mixed, size=width, mode="linear", align_corners=False)
        labels[part] = table[mixed.argmax(0)].numpy()
    return labels
