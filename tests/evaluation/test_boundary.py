"""Boundary IoU against distances measured pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.evaluation.boundary import BoundaryAccumulator, boundary_region


def brute_region(mask: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of the mask with a pixel outside it (or outside the photo) at most `distance` steps of a king away."""
    height, width = mask.shape
    region = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                region[y, x] = any(
                    not (0 <= v < height and 0 <= u < width) or not mask[v, u]
                    for v in range(y - distance, y + distance + 1)
                    for u in range(x - distance, x + distance + 1)
                )
    return region


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))
def test_region_equals_brute_force(seed: int, height: int, width: int, distance: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.85
    np.testing.assert_array_equal(boundary_region(mask, distance), brute_region(mask, distance))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_equal_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    accumulator, common, either = BoundaryAccumulator(3), np.zeros(4), np.zeros(4)
    for _ in range(2):
        small = rng.integers(0, 4, (2, 5, 6)).astype(np.uint8)
        truth, prediction = small.repeat(5, 1).repeat(5, 2)
        truth = np.where(rng.random(truth.shape) < 0.02, np.uint8(255), truth)
        accumulator.add(truth, prediction)
        distance = max(1, round(0.02 * math.hypot(25, 30)))
        for value in range(4):
            one = brute_region(truth == value, distance)
            two = brute_region((prediction == value) & (truth != 255), distance)
            common[value] += (one & two).sum()
            either[value] += (one | two).sum()
    np.testing.assert_allclose(accumulator.result(), np.where(either > 0, 100 * common / np.maximum(either, 1), np.nan))


def test_by_hand() -> None:
    """A square of 6 x 6, predicted one pixel too far right: rings of width 1."""
    truth, prediction = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    truth[5:11, 5:11] = 1
    prediction[5:11, 6:12] = 1
    accumulator = BoundaryAccumulator(2)
    accumulator.add(truth, prediction)
    # Rings of 20 pixels each; common: 5 pixels above and 5 below.
    assert accumulator.result()[1] == 100 * 10 / 30
    assert np.isnan(accumulator.result()[2])
    same = BoundaryAccumulator(2)
    same.add(truth, truth)
    assert same.result()[:2].tolist() == [100, 100]
