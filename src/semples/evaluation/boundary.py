"""Boundary IoU (Cheng et al., arXiv 2103.16562): how well outlines agree, whatever the size of the things.

Labels are uint8: 0 background, class index k is value k + 1, 255 means "not labelled".
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semples.evaluation.confusion import IGNORE

RATIO = 0.02  # of the photo's diagonal, as published


def boundary_region(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The pixels of a mask (H,W) that lie at most `distance` >= 1 from its outline (chessboard distance).

    Outside the photo counts as outside the mask, as in the published program.
    """
    size = 2 * distance + 1
    padded = np.pad(mask, distance).astype(np.int32)
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return mask & (inside < size * size)


class BoundaryAccumulator:
    """Adds up photos; K foreground classes give K + 1 values."""

    def __init__(self, num_classes: int) -> None:
        self._common = np.zeros(num_classes + 1, np.int64)
        self._either = np.zeros(num_classes + 1, np.int64)

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """A photo's labels (H,W). Pixels whose truth is 255 belong to no mask, neither in the truth nor predicted."""
        known = truth != IGNORE
        distance = max(1, round(RATIO * math.hypot(*truth.shape)))
        for value in np.union1d(truth[known], prediction[known]):
            if value < len(self._common):
                pair = [boundary_region((labels == value) & known, distance) for labels in (truth, prediction)]
                self._common[value] += (pair[0] & pair[1]).sum()
                self._either[value] += (pair[0] | pair[1]).sum()

    @property
    def counts(self) -> NDArray[np.int64]:
        """What was added up: pixels in both bands and in either, (2,K+1)."""
        return np.stack([self._common, self._either])

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """What another one has added up."""
        self._common += counts[0]
        self._either += counts[1]

    def result(self) -> NDArray[np.float64]:
        """Boundary IoU of every value in percent (K+1,), NaN where a value occurs nowhere."""
        percent = np.full(len(self._common), np.nan)
        np.divide(self._common * 100.0, self._either, out=percent, where=self._either > 0)
        return percent
