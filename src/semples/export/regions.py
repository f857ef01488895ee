"""Regions of a label map: pixels of one class that hang together, also by their corners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semples.data.dataset import IGNORE


@dataclass(frozen=True)
class Region:
    """A region: its class (0-based), upper left corner (x, y), area in pixels, and `mask`, bool (h, w), in its box."""

    index: int
    x: int
    y: int
    area: int
    mask: NDArray[np.bool_]

    @property
    def box(self) -> list[int]:
        """x, y, width, height in pixels, as COCO writes boxes."""
        return [self.x, self.y, self.mask.shape[1], self.mask.shape[0]]

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the region lies in its label map: rows, columns."""
        height, width = self.mask.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def find_regions(labels: NDArray[np.uint8], *, min_area: int = 1) -> Iterator[Region]:
    """The regions of a label map (H, W) with at least `min_area` pixels, in reading order of their first pixels.

    Background and ignored pixels belong to none. Two pixels hang together where they touch by an edge or a corner.
    """
    width = labels.shape[1]
    flat = labels.ravel()
    # Runs: pixels of one row side by side with equal label.
    begins = np.ones(flat.size, np.bool_)
    begins[1:] = flat[1:] != flat[:-1]
    begins[::width] = True
    start = np.flatnonzero(begins)
    length = np.diff(start, append=flat.size)
    value = flat[start]
    used = (value != 0) & (value != IGNORE)
    if not used.any():
        return
    row, left = start // width, start % width
    right = left + length  # of the first pixel after it
    group = _groups(row, left, right, value, width)
    first, number = np.unique(group[used], return_inverse=True)  # a group is named by its first run
    area = np.bincount(number, weights=length[used]).astype(np.int64)
    low_x, high_x = np.full(len(first), width), np.zeros(len(first), np.int64)
    high_y = np.zeros(len(first), np.int64)
    np.minimum.at(low_x, number, left[used])
    np.maximum.at(high_x, number, right[used])
    np.maximum.at(high_y, number, row[used])
    painted = np.repeat(group, length).reshape(labels.shape)
    for place in np.flatnonzero(area >= min_area):
        run = int(first[place])
        x, y = int(low_x[place]), int(row[run])
        mask = painted[y : int(high_y[place]) + 1, x : int(high_x[place])] == run
        yield Region(int(value[run]) - 1, x, y, int(area[place]), mask)


def _groups(
    row: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64], value: NDArray[np.uint8], width: int
) -> NDArray[np.int64]:
    """For each run the number of the first run of its region."""
    # Of the row above, the runs that end at `left` or later and start at `right` or earlier touch a run.
    wide = width + 2
    from_ = np.searchsorted(row * wide + right, (row - 1) * wide + left, side="left")
    to = np.searchsorted(row * wide + left, (row - 1) * wide + right, side="right")
    count = np.where(row > 0, to - from_, 0)
    below = np.repeat(np.arange(len(row)), count)
    above = np.repeat(from_ - (np.cumsum(count) - count), count) + np.arange(len(below))
    alike = (value[above] == value[below]) & (value[below] != 0) & (value[below] != IGNORE)
    parent = list(range(len(row)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for one, other in zip(above[alike].tolist(), below[alike].tolist(), strict=True):
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return np.array([root(run) for run in range(len(parent))], np.int64)
