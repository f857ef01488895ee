from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.labels.threshold import label_map, winner_map


def draw(rng: np.random.Generator, num_classes: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """A photo's truth and CAMs whose values often equal a threshold."""
    shape = tuple(rng.integers(1, 30, size=2))
    present = rng.choice(num_classes, size=rng.integers(0, num_classes + 1), replace=False)
    cams = {}
    for index in present:
        cam = rng.random(shape, dtype=np.float32)
        ties = rng.random(shape) < 0.5
        cam[ties] = (rng.integers(0, 101, size=shape) / 100).astype(np.float32)[ties]
        cams[int(index)] = cam
    truth = rng.choice([*range(num_classes + 1), 255], size=shape).astype(np.uint8)
    return truth, cams


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_classes=st.integers(1, 6),
    bounds=st.tuples(st.integers(0, 101), st.integers(0, 101)).filter(lambda pair: pair[0] < pair[1]),
)
def test_one_pass_equals_a_label_map_per_threshold(seed: int, num_classes: int, bounds: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    photos = [draw(rng, num_classes) for _ in range(3)]
    thresholds = threshold_range(*bounds)
    halves = [CurveAccumulator(num_classes, thresholds) for _ in range(2)]
    for i, (truth, cams) in enumerate(photos):
        halves[i % 2].add(truth, *winner_map(cams, truth.shape))
    halves[0].merge(halves[1])
    if not halves[0].pixels:
        with pytest.raises(UserError, match="ground truth"):
            halves[0].result()
        return
    for point, tau in zip(halves[0].result().points, thresholds, strict=True):
        maps = [(truth, label_map(cams, truth.shape, threshold=tau)) for truth, cams in photos]
        counts = sum(confusion_matrix(*pair, num_classes=num_classes) for pair in maps)
        expected = scores_from_confusion(counts)
        assert point.threshold == tau
        assert point.scores.pixels == expected.pixels
        for name in ("iou", "precision", "recall", "false_positive", "false_negative"):
            np.testing.assert_array_equal(getattr(point.scores, name), getattr(expected, name))


def descending_curve(left: list[int]) -> CurveAccumulator:
    """100 pixels, all truly class 1; at threshold number i, `found[i]` (descending) of them are labelled so."""
    accumulator = CurveAccumulator(1, [(i + 1) / 10 for i in range(len(left))])
    accumulator.counts[1, 1] = -np.diff([100, *left, 0])
    return accumulator


def test_best_takes_the_largest_of_equal_thresholds_and_first_peak_stops_at_the_first_equal() -> None:
    curve = descending_curve([80, 80, 50]).result()
    assert curve.best.threshold == 0.2
    assert curve.first_peak.threshold == 0.1


def test_first_peak_can_miss_the_best() -> None:
    truth = np.zeros((1, 300), np.uint8)
    truth[0, 200:] = 1
    value = np.full((1, 300), 0.05, np.float32)
    value[0, :50], value[0, 50:200], value[0, 200:] = 0.15, 0.45, 0.9
    accumulator = CurveAccumulator(1, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6))
    accumulator.add(truth, np.ones_like(truth), value)
    curve = accumulator.result()
    assert curve.first_peak.threshold == 0.0  # 0.1 is not strictly better than 0.0
    assert curve.best.threshold == 0.6
    assert curve.best.scores.miou == 100


def test_json_has_no_nan() -> None:
    truth = np.array([[0, 1, 255]], np.uint8)
    accumulator = CurveAccumulator(3, threshold_range(30, 60))
    accumulator.add(truth, np.ones_like(truth), np.full(truth.shape, 0.5, np.float32))
    text = json.dumps(accumulator.result().as_json(("a", "b", "c")), allow_nan=False)
    assert json.loads(text)["curve"][0]["iou_per_class"][2:] == [None, None]


def test_many_classes_and_thresholds_do_not_overflow() -> None:
    truth = np.full((2, 2), 90, np.uint8)
    accumulator = CurveAccumulator(90, threshold_range(0, 101))
    accumulator.add(truth, truth, np.full(truth.shape, 2.0, np.float32))
    assert accumulator.counts[90, 90, 101] == 4
    assert accumulator.pixels == 4


def test_bad_input_is_refused() -> None:
    accumulator = CurveAccumulator(2, (0.5,))
    zero, value = np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32)
    with pytest.raises(UserError, match="cat/1: holds label 3"):
        accumulator.add(zero + np.uint8(3), zero, value, where="cat/1")
    with pytest.raises(UserError, match="cat/1: ground truth is 2x3"):
        accumulator.add(np.zeros((3, 2), np.uint8), zero, value, where="cat/1")
    with pytest.raises(ValueError, match="winner"):
        accumulator.add(zero, zero + np.uint8(3), value)
    with pytest.raises(ValueError, match="float32"):
        accumulator.add(zero, zero, value.astype(np.float64))
    with pytest.raises(ValueError, match="differ"):
        accumulator.merge(CurveAccumulator(2, (0.6,)))
    with pytest.raises(ValueError, match="ascending"):
        CurveAccumulator(2, (0.5, 0.5))
    with pytest.raises(UserError, match="threshold range"):
        threshold_range(60, 30)
    assert not accumulator.counts.any()
    assert math.isclose(sum(threshold_range(0, 101)), 50.5)
