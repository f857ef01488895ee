"""How far CAMs mistake a class's own background for the class: what co-occurrence does to masks, in two figures.

They need truth about backgrounds, which the demo world has. For class k with its own background g(k), over the photos
that carry k:
- FP-own: share of the pixels of g(k) that are labelled k, at one background threshold. 0 is best.
- AUC: chance that the CAM of k on a pixel of k exceeds that on a pixel of g(k), ties counting half. Needs no threshold;
  0.5 is chance, 1 is best (Mann-Whitney's U over the number of pairs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 2000  # levels of CAM values in 0..1; values of one level count as ties


@dataclass(frozen=True)
class Cooccurrence:
    """Per class, float64 (K,), NaN where a class or its background is not shown; values 0..1."""

    fp_own: NDArray[np.float64]
    auc: NDArray[np.float64]

    @property
    def mean_fp_own(self) -> float:
        """Mean over the classes that have a figure."""
        return _mean(self.fp_own)

    @property
    def mean_auc(self) -> float:
        """Mean over the classes that have a figure."""
        return _mean(self.auc)


class CooccurrenceAccumulator:
    """Collects photos. grounds: for every class the value of its own background in the background masks."""

    def __init__(self, grounds: Sequence[int]) -> None:
        self.grounds = tuple(grounds)
        classes = len(self.grounds)
        self.counts = np.zeros((classes, 2, BINS + 1), np.int64)  # CAM levels on the object, on its own background
        self.taken = np.zeros(classes, np.int64)  # pixels of the own background labelled as the class
        self.pixels = np.zeros(classes, np.int64)

    def add(
        self,
        cams: Mapping[int, NDArray[np.float32]],
        labels: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        background: NDArray[np.uint8],
    ) -> None:
        """One photo: its CAMs {class: (H,W) in 0..1}, label map at the threshold, class truth (class k as k + 1, 255
        ignored) and background kinds, each (H,W) uint8."""
        for index, cam in cams.items():
            level = np.rint(cam * BINS).astype(np.int64)
            places = (truth == index + 1, background == self.grounds[index])
            for side, place in enumerate(places):
                self.counts[index, side] += np.bincount(level[place], minlength=BINS + 1)
            self.taken[index] += np.count_nonzero(labels[places[1]] == index + 1)
            self.pixels[index] += np.count_nonzero(places[1])

    def result(self) -> Cooccurrence:
        """The figures so far."""
        with np.errstate(invalid="ignore", divide="ignore"):
            fp_own = self.taken / self.pixels
        return Cooccurrence(fp_own, np.array([_auc(*sides) for sides in self.counts]))


def _auc(high: NDArray[np.int64], low: NDArray[np.int64]) -> float:
    """Chance that a draw from histogram `high` exceeds one from `low`, ties counting half."""
    pairs = float(high.sum()) * float(low.sum())
    if pairs == 0:
        return math.nan
    below = np.cumsum(low) - low
    return float((high * (below + 0.5 * low)).sum() / pairs)


def _mean(figures: NDArray[np.float64]) -> float:
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if known.size else math.nan
