from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as oracle_confusion
from sklearn.metrics import jaccard_score, precision_score, recall_score

from semples.core.errors import UserError
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), num_classes=st.integers(1, 30), height=st.integers(1, 20), width=st.integers(1, 20)
)
def test_counts_and_figures_equal_sklearn(seed: int, num_classes: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice(num_classes + 1, size=rng.integers(1, num_classes + 2), replace=False)
    truth = rng.choice([*values, 255], size=(height, width)).astype(np.uint8)
    prediction = rng.choice(num_classes + 1, size=(height, width)).astype(np.uint8)
    counts = confusion_matrix(truth, prediction, num_classes=num_classes)
    known = truth < 255
    assert counts.shape == (num_classes + 1, num_classes + 2)
    assert not counts[:, -1].any()
    if not known.any():
        assert counts.sum() == 0
        return
    labels = np.arange(num_classes + 1)
    assert (counts[:, :-1] == oracle_confusion(truth[known], prediction[known], labels=labels)).all()

    scores = scores_from_confusion(counts)
    in_truth = np.isin(labels, truth[known])
    in_prediction = np.isin(labels, prediction[known])
    arguments = {"labels": labels, "average": None, "zero_division": 0}
    for figures, oracle, exists in (
        (scores.iou, jaccard_score, in_truth | in_prediction),
        (scores.precision, precision_score, in_prediction),
        (scores.recall, recall_score, in_truth),
    ):
        expected = np.where(exists, 100 * oracle(truth[known], prediction[known], **arguments), np.nan)
        np.testing.assert_allclose(figures, expected, rtol=1e-12)
    assert scores.miou == pytest.approx(np.nanmean(scores.iou), rel=1e-12)
    np.testing.assert_allclose((scores.iou + scores.false_positive + scores.false_negative)[~np.isnan(scores.iou)], 100)


def test_figures_of_a_case_done_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1, 3, 3]], np.uint8)
    scores = scores_from_confusion(confusion_matrix(truth, prediction, num_classes=4))
    np.testing.assert_allclose(scores.iou, [50, 50, np.nan, 0, np.nan])
    np.testing.assert_allclose(scores.precision, [100, 200 / 3, np.nan, 0, np.nan])
    np.testing.assert_allclose(scores.recall, [50, 200 / 3, np.nan, np.nan, np.nan])
    assert scores.miou == pytest.approx(100 / 3)
    assert scores.mean_recall == pytest.approx((50 + 200 / 3) / 2)
    assert scores.mean_precision == pytest.approx((100 + 200 / 3) / 3)
    assert scores.mean_false_positive == pytest.approx((0 + 25 + 100) / 3)
    assert scores.mean_false_negative == pytest.approx((50 + 25 + 0) / 3)
    assert scores.pixels == 5


def test_pixels_left_open_by_the_prediction_are_misses() -> None:
    truth = np.array([[1, 1, 1, 1]], np.uint8)
    counts = confusion_matrix(truth, np.array([[1, 255, 255, 255]], np.uint8), num_classes=1)
    assert counts.tolist() == [[0, 0, 0], [0, 1, 3]]
    assert scores_from_confusion(counts).iou[1] == 25


def test_nothing_to_score_gives_no_figures() -> None:
    scores = scores_from_confusion(np.zeros((3, 3), np.int64))
    assert np.isnan(scores.miou)
    assert scores.as_json(("a", "b"))["miou"] is None


def test_bad_masks_are_named() -> None:
    good = np.zeros((2, 3), np.uint8)
    with pytest.raises(UserError, match="photo7: holds label 9"):
        confusion_matrix(good + np.uint8(9), good, num_classes=8, where="photo7")
    with pytest.raises(UserError, match="photo7: ground truth is 3x2 pixels but the label map 2x3"):
        confusion_matrix(good, good.T, num_classes=8, where="photo7")
    with pytest.raises(ValueError, match="uint8"):
        confusion_matrix(good.astype(np.int64), good, num_classes=8)


@pytest.mark.parametrize("num_classes", [253, 254])
def test_the_largest_class_lists(num_classes: int) -> None:
    truth = np.array([[num_classes, 255, 0]], np.uint8)
    counts = confusion_matrix(truth, np.full((1, 3), num_classes, np.uint8), num_classes=num_classes)
    assert counts[num_classes, num_classes] == 1
    assert counts[0, num_classes] == 1
    assert counts.sum() == 2
