from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semples.inspect.report.levels import LEVELS, STEPS, cam_bytes, steps_below, to_bytes
from semples.labels.threshold import label_map

# Few distinct values, thresholds among them, so that ties are common.
VALUES = st.one_of(
    st.integers(0, 100).map(lambda n: float(np.float32(n / 100))),
    st.floats(0, 1, width=32),
)
MAPS = arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), elements=VALUES)


def _around_edges() -> np.ndarray:
    edges = (np.arange(STEPS + 1) / STEPS).astype(np.float32)
    values = np.concatenate([edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1))])
    return np.concatenate([values, np.linspace(0, 1, 5003, dtype=np.float32)]).clip(0, 1)


def test_every_threshold_splits_the_bytes_as_it_splits_the_values() -> None:
    values = _around_edges()
    levels = to_bytes(values)
    for step in range(STEPS + 1):
        np.testing.assert_array_equal(levels > LEVELS[step], values > np.float32(step / 100), err_msg=str(step))


def test_bytes_are_near_the_values_in_their_order_and_use_the_whole_range() -> None:
    values = np.sort(_around_edges())
    levels = to_bytes(values).astype(int)
    assert abs(levels / 255 - values).max() <= 0.01
    assert (np.diff(levels) >= 0).all()
    assert set(levels.tolist()) == set(range(256))


def test_steps_below_counts_thresholds_strictly_below() -> None:
    values = np.array([0, 1e-6, 0.01, 0.0100001, 0.5, 1, -np.inf], np.float32)
    assert steps_below(values).tolist() == [0, 1, 1, 2, 50, 100, 0]


@given(MAPS)
def test_labels_from_bytes_equal_label_maps_at_every_threshold(maps: np.ndarray) -> None:
    order = [5, 0, 2][: len(maps)]
    cams = dict(zip(order, maps, strict=True))
    levels = cam_bytes(cams)
    first_largest = levels.argmax(axis=0)
    top = levels.max(axis=0)
    values = np.array(order)[first_largest] + 1
    for step in range(STEPS + 1):
        expected = label_map(cams, maps.shape[1:], threshold=step / 100)
        np.testing.assert_array_equal(np.where(top > LEVELS[step], values, 0), expected)


def test_among_classes_within_one_byte_the_larger_still_wins_and_among_equals_the_first() -> None:
    first = np.array([[0.5003, 0.5005, 0.5003, 0.0]], np.float32)
    second = np.array([[0.5005, 0.5003, 0.5003, 0.0]], np.float32)
    assert to_bytes(first)[0, 0] == to_bytes(second)[0, 0]
    assert cam_bytes({3: first, 7: second}).argmax(axis=0).tolist() == [[1, 0, 0, 0]]
