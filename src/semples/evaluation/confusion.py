"""Confusion counts of label maps and the figures made of them.

Labels are uint8: 0 background, class index k is value k + 1, 255 means "not labelled". K foreground classes give K + 1
values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UnusableFile

IGNORE = 255


@dataclass(frozen=True)
class Scores:
    """Figures of one set of label maps, all in percent (0..100); NaN where a figure does not exist.

    With T pixels of a value in the truth, P in the prediction and TP in both, counted where the truth is not 255:
    IoU = TP/(T+P-TP), false positives (P-TP)/(T+P-TP), false negatives (T-TP)/(T+P-TP), all three over the values with
    T+P-TP > 0 (a value predicted but never true counts as 0, one in neither is skipped); precision = TP/P skips P = 0
    and recall = TP/T skips T = 0, each on its own. Arrays are float64 (K+1,), index 0 is the background.
    """

    iou: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    false_positive: NDArray[np.float64]
    false_negative: NDArray[np.float64]
    pixels: int

    @property
    def miou(self) -> float:
        """Mean of `iou` over the values that occur in truth or prediction."""
        return mean_of_known(self.iou)

    @property
    def mean_precision(self) -> float:
        """Mean of `precision` over the values that are predicted somewhere."""
        return mean_of_known(self.precision)

    @property
    def mean_recall(self) -> float:
        """Mean of `recall` over the values that occur in the truth."""
        return mean_of_known(self.recall)

    @property
    def mean_false_positive(self) -> float:
        """Mean of `false_positive` over the same values as `miou`."""
        return mean_of_known(self.false_positive)

    @property
    def mean_false_negative(self) -> float:
        """Mean of `false_negative` over the same values as `miou`."""
        return mean_of_known(self.false_negative)

    def means(self) -> dict[str, float | None]:
        """The five mean figures in percent, ready for JSON (None where a figure does not exist)."""
        return {
            "miou": number_or_none(self.miou),
            "precision": number_or_none(self.mean_precision),
            "recall": number_or_none(self.mean_recall),
            "false_positive": number_or_none(self.mean_false_positive),
            "false_negative": number_or_none(self.mean_false_negative),
        }

    def as_json(self, names: tuple[str, ...]) -> dict[str, Any]:
        """All figures with class names, ready for JSON. `names`: the K foreground classes."""
        if len(names) + 1 != len(self.iou):
            raise ValueError(f"{len(names)} class names for {len(self.iou) - 1} classes")
        per_class = [
            {
                "class": name,
                "iou": number_or_none(self.iou[value]),
                "precision": number_or_none(self.precision[value]),
                "recall": number_or_none(self.recall[value]),
                "false_positive": number_or_none(self.false_positive[value]),
                "false_negative": number_or_none(self.false_negative[value]),
            }
            for value, name in enumerate(("background", *names))
        ]
        return {**self.means(), "pixels": self.pixels, "classes": per_class}

    @classmethod
    def from_json(cls, figures: Mapping[str, Any]) -> Scores:
        """The scores that `as_json` described."""
        columns = ("iou", "precision", "recall", "false_positive", "false_negative")
        rows = figures["classes"]
        arrays = {key: np.array([math.nan if row[key] is None else row[key] for row in rows]) for key in columns}
        return cls(**arrays, pixels=figures["pixels"])


def confusion_matrix(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], *, num_classes: int, where: str = "ground truth"
) -> NDArray[np.int64]:
    """Count pixels by (true value, predicted value), leaving out pixels whose truth is 255.

    `truth`, `prediction`: (H,W) uint8; `num_classes`: K foreground classes. Returns int64 (K+1, K+2): the last column
    has the pixels that the prediction leaves open (255), missed by every value. Matrices of several photos add up.
    Raises UnusableFile naming `where` when the sizes differ or a value is neither 255 nor in 0..K.
    """
    values = num_classes + 1
    rows = checked_values(truth, num_classes=num_classes, where=where)
    columns = checked_values(prediction, num_classes=num_classes, where=f"prediction for {where}")
    check_same_size(truth, prediction, where=where)
    known = rows < values
    fused = rows[known].astype(np.intp) * (values + 1) + columns[known]
    return np.bincount(fused, minlength=values * (values + 1)).reshape(values, values + 1).astype(np.int64)


def scores_from_confusion(confusion: NDArray[np.int64]) -> Scores:
    """The figures of a confusion matrix, int64 (K+1, K+1) or (K+1, K+2) with a last column of pixels left open."""
    values = len(confusion)
    true_positive = np.diagonal(confusion).astype(np.float64)
    truth = confusion.sum(axis=1, dtype=np.float64)
    predicted = confusion[:, :values].sum(axis=0, dtype=np.float64)
    union = truth + predicted - true_positive
    return Scores(
        iou=_percent(true_positive, union),
        precision=_percent(true_positive, predicted),
        recall=_percent(true_positive, truth),
        false_positive=_percent(predicted - true_positive, union),
        false_negative=_percent(truth - true_positive, union),
        pixels=int(confusion.sum()),
    )


def checked_values(labels: NDArray[Any], *, num_classes: int, where: str) -> NDArray[np.uint8]:
    """Labels with 255 turned into K + 1, so that values are 0..K+1. Any other value: UserError naming `where`."""
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise ValueError(f"{where}: labels must be uint8 (H,W), not {labels.dtype} {labels.shape}")
    table = np.full(256, IGNORE, np.uint8)
    table[: num_classes + 1] = np.arange(num_classes + 1)
    table[IGNORE] = num_classes + 1
    values: NDArray[np.uint8] = table[labels]
    if num_classes < 254 and (values == IGNORE).any():
        wrong = int(labels[values == IGNORE].min())
        raise UnusableFile(
            f"{where}: holds label {wrong}, but {num_classes} classes allow only 0 (background) to {num_classes} and "
            "255 (not labelled); check that the class list belongs to these masks"
        )
    return values


def check_same_size(truth: NDArray[Any], labels: NDArray[Any], *, where: str) -> None:
    """Raise UnusableFile naming `where` when a truth map and a label map differ in size."""
    if truth.shape != labels.shape:
        raise UnusableFile(
            f"{where}: ground truth is {truth.shape[1]}x{truth.shape[0]} pixels but the label map {labels.shape[1]}x"
            f"{labels.shape[0]}; both must have the size of the photo"
        )


def mean_of_known(figures: NDArray[np.float64]) -> float:
    """Mean of the entries that are not NaN; NaN when there is none."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if known.size else float("nan")


def number_or_none(figure: float) -> float | None:
    """A float for JSON: None instead of NaN."""
    return None if np.isnan(figure) else float(figure)


def _percent(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.full(part.shape, np.nan)
    np.divide(part * 100, whole, out=result, where=whole > 0)
    return result
