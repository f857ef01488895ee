"""How the scores of a photo, whole or by windows, become a label map of its own size.

Scores are read by rows from above, so that of a photo of 100 megapixels only a strip is ever held. Shape suffixes:
C = K + 1 values (0 background, class k is k + 1), h x w the network's own output, H x W the photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semples.data.dataset import IGNORE
from semples.prediction.views import Size, View

STRIP = 1 << 24  # scores that are enlarged at a time

Scorer = Callable[[Tensor], Tensor]  # images (B,3,h,w) to probabilities (B,C,h',w')


@dataclass(frozen=True)
class Segmented:
    """A photo's label map, uint8 (H,W): 0 background, class k as k + 1, 255 where it is not sure enough; and, where
    asked for, how sure each pixel is: its largest probability less the second largest, float32 (H,W) in 0..1."""

    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None

    def opened(self, least: float) -> Segmented:
        """With 255 where the confidence is below `least`."""
        if self.confidence is None or least <= 0:
            return self
        labels = self.labels.copy()
        labels[self.confidence < least] = IGNORE
        return Segmented(labels, self.confidence)


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side of `length` >= `window`: every `stride`, and the last flush with the end."""
    return [*range(0, length - window, stride), length - window]


def mirrored(score: Scorer) -> Scorer:
    """Mean of the scores of images and of their mirrors, turned back."""

    def both(images_B3hw: Tensor) -> Tensor:
        straight, mirror = score(torch.cat([images_B3hw, images_B3hw.flip(-1)])).chunk(2)
        return (straight + mirror.flip(-1)) / 2

    return both


# ------------------------------------------------------------------------------------------------------------- rows


class Rows(Protocol):
    """Scores (C, rows, columns) of a photo, to be read from above: no `first` is below an earlier one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, rows, columns."""
        ...

    def read(self, first: int, last: int) -> Tensor:
        """Scores (C, last - first, columns) of these rows, on the CPU."""
        ...


class AllRows:
    """Scores (C,h,w) that are there as a whole."""

    def __init__(self, scores_Chw: Tensor) -> None:
        self._scores = scores_Chw

    @property
    def shape(self) -> tuple[int, int, int]:
        count, rows, columns = self._scores.shape
        return count, rows, columns

    def read(self, first: int, last: int) -> Tensor:
        return self._scores[:, first:last]


class WindowRows:
    """Mean of the scores of the windows that cover each place of a view; `batch` windows are computed together.

    All windows share one grid of cells; where the network's own output does not fit one, it is resized to a quarter of
    the window. Rows are given away as soon as no further window covers them.
    """

    def __init__(self, score: Scorer, view: View, *, window: Size, stride: Size, batch: int) -> None:
        self._parts = _window_rows(score, view, window=window, stride=stride, batch=batch)
        self._held = next(self._parts)
        self._first = 0  # the row that the held ones begin with
        self.cell = view.size[1] // self._held.shape[2]
        self.shape = (self._held.shape[0], view.size[0] // self.cell, self._held.shape[2])

    def read(self, first: int, last: int) -> Tensor:
        while self._first + self._held.shape[1] < last:
            begin = min(first - self._first, self._held.shape[1])
            self._held = torch.cat([self._held[:, begin:], next(self._parts)], dim=1)
            self._first += begin
        return self._held[:, first - self._first : last - self._first]


def _window_rows(score: Scorer, view: View, *, window: Size, stride: Size, batch: int) -> Iterator[Tensor]:
    """Scores (C, n, columns) of rows of cells in turn, on the CPU."""
    tops, lefts = (window_starts(*given) for given in zip(view.size, window, stride, strict=True))
    places = [(top, left) for top in tops for left in lefts]
    held = down = across = torch.empty(0)
    base = 0
    for first in range(0, len(places), batch):
        some = places[first : first + batch]
        scores = _on_grid(
            score(torch.stack([view.cut(*place, window) for place in some])),
            window=window,
            shared=math.gcd(*window, *stride, *view.size),
        )
        rows, columns = scores.shape[-2:]
        cell = window[0] // rows
        if not first:
            held = scores.new_zeros(scores.shape[1], 0, view.size[1] // cell)
            down = _covered(tops, window[0], view.size[0], cell).to(scores.device)
            across = _covered(lefts, window[1], view.size[1], cell).to(scores.device)
        missing = some[-1][0] // cell + rows - base - held.shape[1]
        if missing > 0:
            held = torch.cat([held, held.new_zeros(len(held), missing, held.shape[2])], dim=1)
        for (top, left), window_scores in zip(some, scores, strict=True):
            row, column = top // cell - base, left // cell
            held[:, row : row + rows, column : column + columns] += window_scores
        following = places[first + batch : first + batch + 1]
        done = (following[0][0] if following else view.size[0]) // cell - base
        if done > 0:
            yield (held[:, :done] / (down[base : base + done, None] * across)).cpu()
            held, base = held[:, done:].clone(), base + done


def _covered(starts: Sequence[int], window: int, length: int, cell: int) -> Tensor:
    """How many windows cover each cell along a side."""
    count = torch.zeros(length // cell)
    for start in starts:
        count[start // cell : (start + window) // cell] += 1
    return count


def _on_grid(scores_BChw: Tensor, *, window: Size, shared: int) -> Tensor:
    """The scores of windows with a whole number of pixels a cell, such that all windows share one grid.

    shared: what divides all places and lengths.
    """
    height, width = scores_BChw.shape[-2:]
    cell = window[0] // height
    if (cell * height, cell * width) == window and cell and shared % cell == 0:
        return scores_BChw
    cell = next(cell for cell in (4, 2, 1) if shared % cell == 0)
    size = (window[0] // cell, window[1] // cell)
    return F.interpolate(scores_BChw, size=size, mode="bilinear", align_corners=False)


class MeanRows:
    """Mean of the scores of several views of a photo, on the grid of the first."""

    def __init__(self, views: Sequence[Rows]) -> None:
        self._first, *self._others = views
        self.shape = self._first.shape

    def read(self, first: int, last: int) -> Tensor:
        total = self._first.read(first, last).clone()
        for other in self._others:
            total += enlarged(other, (self.shape[1], self.shape[2]), first, last)
        return total / (1 + len(self._others))


def enlarged(rows: Rows, size: Size, first: int, last: int) -> Tensor:
    """Rows `first` to `last` of scores resized to `size` (h, w), as F.interpolate (bilinear, align_corners False)
    has them: (C, last - first, w)."""
    height, width = size
    above, below, share = _between(first, last, length=height, count=rows.shape[1])
    begin = int(above[0])
    held = rows.read(begin, int(below[-1]) + 1)
    mixed = torch.lerp(held[:, above - begin], held[:, below - begin], share.to(held.dtype)[None, :, None])
    if mixed.shape[-1] != width:
        mixed = F.interpolate(mixed, size=width, mode="linear", align_corners=False)
    return mixed


def enlarged_part(
    held_Chw: Tensor, size: Size, rows: tuple[int, int], columns: tuple[int, int], *, first_row: int, row_count: int
) -> Tensor:
    """These rows and columns of scores resized to `size` as in `enlarged`, from those of their rows of cells that are
    held: the first of them is number `first_row` of `row_count`."""
    above, below, share = _between(*rows, length=size[0], count=row_count)
    mixed = torch.lerp(
        held_Chw[:, above - first_row], held_Chw[:, below - first_row], share.to(held_Chw.dtype)[None, :, None]
    )
    left, right, share = _between(*columns, length=size[1], count=held_Chw.shape[2])
    return torch.lerp(mixed[..., left], mixed[..., right], share.to(mixed.dtype))


def _between(first: int, last: int, *, length: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """For the places `first` to `last` of a side of `length`: the cell before, of `count`, the one behind, and how far
    towards that one (0..1, float64). Place y lies at (y + 1/2) * count / length - 1/2."""
    at = ((torch.arange(first, last, dtype=torch.float64) + 0.5) * count / length - 0.5).clamp_min(0)
    before = at.floor().long().clamp_max(count - 1)
    return before, (before + 1).clamp_max(count - 1), at - before


# ------------------------------------------------------------------------------------------------------------ labels


def strips(count: int, size: Size) -> Iterator[tuple[int, int]]:
    """First and last row of the strips in which a photo of `size` (H, W) is enlarged for `count` values."""
    rows = max(1, STRIP // (count * max(size[1], 1)))
    for top in range(0, size[0], rows):
        yield top, min(size[0], top + rows)


def labels_from_scores(
    scores: Rows | Tensor, size: Size, *, values: tuple[int, ...] | None = None, confident: bool = False
) -> Segmented:
    """Label map of `size` (H, W) from scores of any resolution: enlarged bilinearly, then the largest wins.

    values: the labels that may occur, ascending; None: all. Equal to `F.interpolate(...).argmax(0)`, but only a strip
    of enlarged scores is ever held. confident: also how sure each pixel is, among the labels that may occur.
    """
    rows = AllRows(scores) if isinstance(scores, Tensor) else scores
    chosen = tuple(range(rows.shape[0])) if values is None else values
    labels = np.empty(size, np.uint8)
    confidence = np.ones(size, np.float32) if confident else None
    table = torch.tensor(chosen, dtype=torch.uint8)
    for top, bottom in strips(len(chosen), size):
        mixed = enlarged(_Chosen(rows, chosen), size, top, bottom)
        best, winner = mixed.max(0)
        labels[top:bottom] = table[winner].numpy()
        if confidence is not None and len(chosen) > 1:
            total = mixed.sum(0).clamp_min(1e-12)
            second = mixed.scatter_(0, winner[None], -1.0).amax(0)
            confidence[top:bottom] = ((best - second) / total).clamp(0, 1).numpy()
    return Segmented(labels, confidence)


class _Chosen:
    """Scores of some values alone."""

    def __init__(self, rows: Rows, values: tuple[int, ...]) -> None:
        self._rows = rows
        self._values = list(values)
        count, height, width = rows.shape
        self._all = len(values) == count
        self.shape = (len(values), height, width)

    def read(self, first: int, last: int) -> Tensor:
        rows = self._rows.read(first, last)
        return rows if self._all else rows[self._values]
