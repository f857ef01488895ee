"""Label maps from class activation maps and one background threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semples.evaluation.selection import Grid
from semples.labels.base import Calibration, LabelInput, LabelMethod, Quality
from semples.labels.regions import power_of_threshold
from semples.labels.scored import MAX_CLASS, Cams, Scored, Thresholds, label_values

__all__ = ["MAX_CLASS", "Threshold", "by_threshold", "label_map", "winner_map"]


class Threshold(LabelMethod):
    """The class with the largest CAM where that exceeds its threshold, else background.

    A CAM c has no background score of its own; it is taken as (1 - c)^g, with the power g for which c beats background
    exactly above the threshold.
    """

    name = "threshold"
    # Grids and lines were found on two drawn worlds by least squares; the error is the root mean square on four worlds
    # drawn with other settings, by regions+crf, from 120 photos, and 8 and 4 by the CRF alone from 300
    # (benchmarks/results/selection.json). Real photos: not measured. A CRF moves edges in leaps: a narrower window sees
    # more.
    calibration = Calibration(Grid(reach=4), Quality(-15.0, 160.0, 9.0))
    refined_calibration = Calibration(Grid(reach=2), Quality(-103.0, 220.0, 9.0))

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """Scores of the size of the CAMs."""
        return by_threshold(photo.cams, photo.shape, thresholds)


def by_threshold(cams: Cams, shape: tuple[int, int], thresholds: Thresholds) -> Scored:
    """Labels and scores, (H,W) = `shape`, of CAMs {class index (0-based): float32 (H,W) in 0..1}.

    `thresholds`: one, or float32 (K,), one for each class. They are compared in float32, and a CAM equal to its
    threshold is background. Without CAMs all is background.
    """
    winner, value = winner_map(cams, shape)
    if not cams:
        return Scored.background(shape)
    threshold, power = (_by_winner(values, winner) for values in (thresholds, power_of_threshold(thresholds)))
    labels = np.where(value > threshold.astype(np.float32), winner, np.uint8(0))
    background = (1 - np.clip(value, 0, 1)) ** power.astype(np.float32)
    return Scored(label_values(cams), np.stack([background, *cams.values()]), labels)


def winner_map(cams: Cams, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The class with the largest CAM at every pixel, and that CAM.

    `cams`: {class index (0-based): float32 (H,W)}; `shape`: (H,W). Returns label values (class index + 1), uint8
    (H,W), and the CAM, float32 (H,W). Among equal CAMs the first in the dictionary wins. With no class: label
    0 and minus infinity.
    Raises ValueError when a map has another shape or dtype, or a class index is outside 0..253.
    """
    winner = np.zeros(shape, np.uint8)
    value = np.full(shape, -np.inf, np.float32)
    for index, cam in cams.items():
        if cam.shape != shape or cam.dtype != np.float32:
            raise ValueError(f"CAM of class {index} must be float32 {shape}, not {cam.dtype} {cam.shape}")
        if not 0 <= index <= MAX_CLASS:
            raise ValueError(f"class index {index} is outside 0..{MAX_CLASS}")
        np.copyto(winner, np.uint8(index + 1), where=cam > value)
        np.maximum(value, cam, out=value)
    return winner, value


def label_map(cams: Cams, shape: tuple[int, int], *, threshold: float) -> NDArray[np.uint8]:
    """Labels, uint8 (H,W): the winning class where its CAM exceeds `threshold`, else 0 (background).

    The threshold is compared in float32, so a CAM equal to it is background.
    """
    winner, value = winner_map(cams, shape)
    winner[~(value > np.float32(threshold))] = 0
    return winner


def _by_winner(values: Thresholds | NDArray[np.float64], winner: NDArray[np.uint8]) -> NDArray[np.float64]:
    """One value, or the winning class's at every pixel."""
    given = np.asarray(values, np.float64)
    return given if given.ndim == 0 else given[winner.astype(np.intp) - 1]
