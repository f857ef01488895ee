"""Scores at every background threshold from one pass over the photos.

For a threshold t a pixel is labelled with its winning class where that class's CAM exceeds t, else background. So a
pixel's label at *all* thresholds follows from its winner and from how many thresholds lie strictly below the winner's
value: a histogram over (truth, winner, that number) holds every confusion matrix of the curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.evaluation.confusion import (
    Scores,
    check_same_size,
    checked_values,
    number_or_none,
    scores_from_confusion,
)


def threshold_range(start: int, end: int) -> tuple[float, ...]:
    """Thresholds start/100, (start+1)/100, ... up to, excluding, end/100; 0 <= start < end <= 101."""
    if not 0 <= start < end <= 101:
        raise UserError(f"threshold range {start}..{end}: needs 0 <= start < end <= 101 (hundredths, end not included)")
    return tuple(step / 100 for step in range(start, end))


@dataclass(frozen=True)
class CurvePoint:
    """The scores at one threshold."""

    threshold: float
    scores: Scores


@dataclass(frozen=True)
class Curve:
    """Scores at ascending thresholds."""

    points: tuple[CurvePoint, ...]

    @property
    def best(self) -> CurvePoint:
        """The point of the highest mIoU; among equals the one with the largest threshold."""
        return max(self.points, key=lambda point: (_rank(point), point.threshold))

    @property
    def first_peak(self) -> CurvePoint:
        """The published program's answer: the last point before the first whose mIoU is not strictly better."""
        peak = self.points[0]
        for point in self.points[1:]:
            if not _rank(point) > _rank(peak):
                break
            peak = point
        return peak

    def as_json(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The curve ready for JSON: means at every threshold, the two answers, the per-class table of the best."""
        return {
            "best": {"threshold": self.best.threshold, "miou": number_or_none(self.best.scores.miou)},
            "first_peak": {"threshold": self.first_peak.threshold, "miou": number_or_none(self.first_peak.scores.miou)},
            "curve": [
                {
                    "threshold": point.threshold,
                    **point.scores.means(),
                    "iou_per_class": [number_or_none(figure) for figure in point.scores.iou],
                }
                for point in self.points
            ],
            "at_best": self.best.scores.as_json(names),
        }


class CurveAccumulator:
    """Collects photos and answers with the scores at every threshold.

    `num_classes`: K foreground classes. `thresholds`: strictly ascending; they are compared in float32, the dtype of
    CAMs, so a CAM value equal to a threshold is background. `counts` is the whole state, int64 (K+1, K+1,
    len(thresholds)+1) over (truth, winner, thresholds below the winner's value): states of several processes add up.
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float]) -> None:
        self.num_classes = num_classes
        self.thresholds = tuple(float(threshold) for threshold in thresholds)
        self._edges = np.array(self.thresholds, np.float32)
        if not len(self._edges) or not (np.diff(self._edges) > 0).all() or not np.isfinite(self._edges).all():
            raise ValueError("thresholds must be finite and strictly ascending, at least one")
        self.counts = np.zeros((num_classes + 1, num_classes + 1, len(self.thresholds) + 1), np.int64)

    @property
    def pixels(self) -> int:
        """Pixels with ground truth seen so far."""
        return int(self.counts.sum())

    def add(
        self,
        truth: NDArray[np.uint8],
        winner: NDArray[np.uint8],
        value: NDArray[np.float32],
        *,
        where: str = "ground truth",
    ) -> None:
        """Add one photo.

        `truth`: uint8 (H,W), 0..K or 255. `winner`: uint8 (H,W), label value of the class with the largest CAM, 0 where
        there is no class. `value`: float32 (H,W), that CAM. Both come from `semples.labels.threshold.winner_map`.
        Raises UserError naming `where` when the sizes differ or a value of `truth` is out of range.
        """
        if value.dtype != np.float32 or value.shape != winner.shape:
            raise ValueError(f"value must be float32 {winner.shape}, not {value.dtype} {value.shape}")
        if winner.dtype != np.uint8 or (winner.size and winner.max() > self.num_classes):
            raise ValueError(f"winner must be uint8 in 0..{self.num_classes}")
        check_same_size(truth, winner, where=where)
        true_value = checked_values(truth, num_classes=self.num_classes, where=where)
        levels = len(self._edges) + 1
        below = np.zeros(value.shape, np.min_scalar_type(levels))
        for edge in self._edges:
            below += value > edge
        # One extra truth row takes the pixels without ground truth; the smallest dtype keeps memory traffic low.
        values = self.num_classes + 1
        size = (values + 1) * values * levels
        fused = true_value.astype(np.min_scalar_type(size))
        fused *= fused.dtype.type(values)
        fused += winner
        fused *= fused.dtype.type(levels)
        fused += below
        counts = np.bincount(fused.ravel(), minlength=size)
        self.counts += counts.reshape(values + 1, values, levels)[:values]

    def merge(self, other: CurveAccumulator) -> None:
        """Add what another accumulator with the same classes and thresholds has seen."""
        if other.thresholds != self.thresholds or other.num_classes != self.num_classes:
            raise ValueError("accumulators differ in classes or thresholds")
        self.counts += other.counts

    def result(self) -> Curve:
        """The curve. Raises UserError when no pixel with ground truth was added."""
        if not self.pixels:
            raise UserError(
                "no pixel has ground truth, so there is nothing to score; give masks for at least one photo"
            )
        points = [CurvePoint(tau, scores_from_confusion(self._confusion(i))) for i, tau in enumerate(self.thresholds)]
        return Curve(tuple(points))

    def _confusion(self, index: int) -> NDArray[np.int64]:
        """Confusion counts (truth, prediction), int64 (K+1, K+1), at one threshold."""
        confusion: NDArray[np.int64] = self.counts[:, :, index + 1 :].sum(axis=2)
        confusion[:, 0] = self.counts.sum(axis=(1, 2)) - confusion[:, 1:].sum(axis=1)
        return confusion


def _rank(point: CurvePoint) -> float:
    return -math.inf if math.isnan(point.scores.miou) else point.scores.miou
