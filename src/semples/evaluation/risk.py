"""What a least confidence brings: the share of pixels that stay labelled, and how right these are.

The risk-coverage curve of selective prediction (El-Yaniv & Wiener 2010), with mean IoU beside the pixel error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semples.evaluation.confusion import IGNORE, confusion_matrix, number_or_none, scores_from_confusion

LEVELS = tuple(round(0.1 * step, 1) for step in range(10))  # least confidences that are tried


@dataclass(frozen=True)
class Covered:
    """Pixels with a confidence of `least` or more: their share of all whose truth is known (0..1), the share of them
    with a wrong label (0..1, NaN where there are none), and their mean IoU in percent, pixels left open not counted."""

    least: float
    coverage: float
    risk: float
    miou: float

    def as_json(self) -> dict[str, float | None]:
        """The figures as plain data."""
        return {
            "min_confidence": self.least,
            "coverage": self.coverage,
            "risk": number_or_none(self.risk),
            "miou": number_or_none(self.miou),
        }


class RiskCoverage:
    """Adds photos up, for K classes."""

    def __init__(self, num_classes: int) -> None:
        self._classes = num_classes
        # Pixels by the highest level that they reach, truth, and label.
        self._counts = np.zeros((len(LEVELS), num_classes + 1, num_classes + 2), np.int64)

    def add(self, truth: NDArray[np.uint8], labels: NDArray[np.uint8], confidence: NDArray[np.float32]) -> None:
        """A photo: truth and labels uint8 (H,W), confidence (H,W) in 0..1. Raises UnusableFile for an odd value."""
        level = np.searchsorted(np.array(LEVELS, np.float32), confidence, side="right") - 1
        for place in range(len(LEVELS)):
            there = np.where(level == place, truth, np.uint8(IGNORE))
            self._counts[place] += confusion_matrix(there, labels, num_classes=self._classes)

    @property
    def counts(self) -> NDArray[np.int64]:
        """What was added up: pixels by the highest level that they reach, truth and label, (levels,K+1,K+2)."""
        return self._counts

    def add_counts(self, counts: NDArray[np.int64]) -> None:
        """What another one has added up."""
        self._counts += counts

    def result(self) -> tuple[Covered, ...]:
        """A row for each level."""
        rows = []
        known = int(self._counts.sum())
        for place, least in enumerate(LEVELS):
            confusion = self._counts[place:].sum(0)[:, :-1]
            pixels = int(confusion.sum())
            right = int(np.diagonal(confusion).sum())
            rows.append(
                Covered(
                    least,
                    pixels / max(1, known),
                    1 - right / pixels if pixels else float("nan"),
                    scores_from_confusion(confusion).miou,
                )
            )
        return tuple(rows)
