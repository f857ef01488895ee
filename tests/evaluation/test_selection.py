"""Choosing a threshold without masks, on label maps whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semples.evaluation.selection import (
    PRIOR_PAIRS,
    STEP,
    Grid,
    Signs,
    at,
    background_steadiness,
    choose,
    mean_over_pairs,
    peak,
    rank_correlation,
    steadiness,
    stretched,
)

GRID = Grid(reach=2)


def maps_of(value: np.ndarray, *, label: int = 1) -> list[np.ndarray]:
    """Label maps of one CAM at all thresholds of the grid."""
    return [np.where(value > np.float32(place), label, 0).astype(np.uint8) for place in GRID.maps]


def test_the_grid_is_even_and_the_window_fits_into_it() -> None:
    for reach in (1, 2, 4):
        grid = Grid(reach=reach)
        assert np.allclose(np.diff(grid.maps), STEP)
        assert len(grid.maps) == len(grid.tried) + 2 * reach
        for index, place in enumerate(grid.tried):
            assert grid.maps[index] == pytest.approx(place - grid.window)
            assert grid.maps[index + 2 * reach] == pytest.approx(place + grid.window)


def test_steadiness_of_a_thing_with_a_sharp_edge() -> None:
    """A CAM of 0.8 on the thing, 0.2 around it: between the two nothing moves; a window over a level loses it."""
    value = np.full((10, 10), 0.2, np.float32)
    value[:5, :4] = 0.8
    (row,) = steadiness(maps_of(value, label=3), [2], reach=GRID.reach)
    for place, steady in zip(GRID.tried, row, strict=True):
        low, high = place - GRID.window, place + GRID.window
        if (low > 0.2 and high < 0.8) or high < 0.2:
            assert steady == 1
        elif low <= 0.2 < high < 0.8:
            assert steady == pytest.approx(20 / 100)
        elif 0.2 < low < 0.8 <= high:
            assert steady == 0


def test_steadiness_counts_a_class_only_where_it_is() -> None:
    empty = [np.zeros((4, 4), np.uint8)] * 5
    assert np.isnan(steadiness(empty, [0, 1], reach=2)).all()
    assert steadiness(empty, [], reach=2).shape == (0, 1)
    other = [np.full((4, 4), 2, np.uint8)] * 5
    np.testing.assert_array_equal(steadiness(other, [0, 1], reach=2), [[np.nan], [1.0]])


@given(st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_steadiness_is_an_iou(values: list[int]) -> None:
    maps = [np.array(values[start : start + 6], np.uint8).reshape(2, 3) for start in range(0, 30, 6)]
    steady = steadiness(maps, [0, 1], reach=1)
    for row, index in zip(steady, (0, 1), strict=True):
        for place, entry in enumerate(row):
            left, right = ({i for i, x in enumerate(maps[n].flat) if x == index + 1} for n in (place, place + 2))
            expected = len(left & right) / len(left | right) if left | right else float("nan")
            assert entry == pytest.approx(expected, nan_ok=True)


def signs(steady: np.ndarray, known: np.ndarray | None = None, classes: list[int] | None = None) -> Signs:
    known = np.full_like(steady, 0.5) if known is None else known
    return Signs(np.array([0] * len(steady) if classes is None else classes, np.intp), steady, known)


def test_the_steadiest_threshold_is_taken() -> None:
    tried = [0.1, 0.2, 0.3, 0.4, 0.5]
    choice = choose(signs(np.array([[0.2, 0.4, 0.9, 0.4, 0.2], [0.1, 0.6, 0.7, 0.6, 0.1]])), tried, num_classes=1)
    assert choice.threshold == 0.3
    np.testing.assert_allclose(choice.steadiness, [0.15, 0.5, 0.8, 0.5, 0.15])


def test_recognition_settles_what_steadiness_leaves_open() -> None:
    tried = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    steady = np.array([[0.9, 0.5, 0.2, 0.2, 0.5, 0.9, 0.5]])  # also steady where everything is taken in
    known = np.array([[0.1, 0.2, 0.4, 0.7, 0.9, 0.9, 0.8]])
    assert choose(signs(steady, known), tried, num_classes=1).threshold == pytest.approx(0.6, abs=0.03)
    assert choose(signs(steady), tried, num_classes=1).threshold == 0.1
    half = choose(signs(steady, known), tried, num_classes=1, weight=0.5)
    expected = [1 + 0.5 * 0, *half.criterion[1:]]
    np.testing.assert_allclose(half.criterion, expected)
    assert choose(signs(steady, known), tried, num_classes=1, weight=0).threshold == 0.1


def test_without_a_judge_a_mask_that_fills_the_photo_is_not_the_steadiest() -> None:
    """A thing of 0.8 in a slope of 0.3 to 0.5: low thresholds take in everything, which hardly moves any more."""
    value = np.linspace(0.3, 0.5, 400, dtype=np.float32).reshape(20, 20)
    value[5:12, 5:12] = 0.9
    maps = maps_of(value)
    steady = steadiness(maps, [0], reach=GRID.reach)
    around = background_steadiness(maps, [0, 1], reach=GRID.reach)
    assert around[0] == 0  # no background at the lowest thresholds
    nan = np.full_like(steady, np.nan)
    alone = choose(Signs(np.zeros(1, np.intp), steady, nan), GRID.tried, num_classes=1)
    balanced = choose(Signs(np.zeros(1, np.intp), steady, nan, around[None]), GRID.tried, num_classes=1)
    assert alone.threshold < 0.3
    assert 0.5 < balanced.threshold < 0.9
    np.testing.assert_array_equal(alone.steadiness, balanced.steadiness)  # what is shown and estimated by
    np.testing.assert_allclose(balanced.per_class, [balanced.threshold])
    single = choose(Signs(np.zeros(1, np.intp), steady, nan, np.full_like(steady, np.nan)), GRID.tried, num_classes=1)
    assert np.isnan(background_steadiness(maps, [0], reach=GRID.reach)).all()
    assert single.threshold == alone.threshold  # of a photo of one class nothing is balanced


def test_a_class_that_differs_gets_its_own_threshold_as_far_as_its_pairs_go() -> None:
    tried = [round(0.1 + 0.05 * i, 2) for i in range(13)]

    def bump(place: float) -> np.ndarray:
        return 1 - np.abs(np.array(tried) - place)

    many = int(20 * PRIOR_PAIRS)
    rows = np.stack([bump(0.3)] * many + [bump(0.6)] * many + [bump(0.6)])
    choice = choose(signs(rows, classes=[0] * many + [1] * many + [2]), tried, num_classes=4)
    first, second, third, fourth = choice.per_class
    assert first == pytest.approx(0.3, abs=0.02)
    assert second == pytest.approx(0.6, abs=0.02)
    assert third is not None
    assert 0.3 <= third <= 0.6  # one pair says little
    assert fourth is None


def test_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="no pair"):
        choose(signs(np.zeros((0, 3))), [0.1, 0.2, 0.3], num_classes=1)
    with pytest.raises(ValueError, match="signs must be"):
        Signs(np.zeros(2, np.intp), np.zeros((2, 3)), np.zeros((2, 4)))


def test_means_leave_out_what_is_not_known() -> None:
    nan = float("nan")
    np.testing.assert_array_equal(mean_over_pairs(np.array([[1.0, nan, nan], [3.0, 5.0, nan]])), [2.0, 5.0, nan])


def test_stretched() -> None:
    np.testing.assert_allclose(stretched(np.array([2.0, 4.0, np.nan, 3.0])), [0, 1, 0, 0.5])
    np.testing.assert_array_equal(stretched(np.full(3, 0.7)), np.zeros(3))
    np.testing.assert_array_equal(stretched(np.full(3, np.nan)), np.zeros(3))


def test_peak_of_a_parabola_is_exact() -> None:
    places = np.linspace(0, 1, 11)
    for top in (0.23, 0.5, 0.87):
        assert peak(list(places), 1 - (places - top) ** 2) == pytest.approx(top, abs=1e-9)
    assert peak([0.1, 0.2, 0.3], np.array([3.0, 2.0, 1.0])) == 0.1
    assert peak([0.1, 0.2, 0.3], np.array([1.0, 1.0, 1.0])) == 0.1


def test_a_curve_between_its_points() -> None:
    assert at([0.1, 0.2], np.array([1.0, 3.0]), 0.15) == pytest.approx(2)
    assert at([0.1, 0.2], np.array([1.0, 3.0]), 0.9) == 3
    assert at([0.1, 0.2, 0.3], np.array([1.0, np.nan, 3.0]), 0.2) == pytest.approx(2)
    assert np.isnan(at([0.1], np.array([np.nan]), 0.1))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    left, right = ([float(x) for x in row] for row in zip(*pairs, strict=True))
    correlation = rank_correlation(left, right)
    if len(set(left)) == 1 or len(set(right)) == 1:
        assert np.isnan(correlation)
    else:
        assert correlation == pytest.approx(stats.spearmanr(left, right).statistic, abs=1e-12)


def test_rank_correlation_of_short_and_uneven_rows() -> None:
    assert np.isnan(rank_correlation([1.0], [2.0]))
    with pytest.raises(ValueError, match="rows"):
        rank_correlation([1.0], [2.0, 3.0])


def test_blurred_disc_is_cut_at_its_edge() -> None:
    """CAMs of discs with a steep edge at 0.4 and noisy slopes on both sides: the choice lies on the edge."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    rows = []
    for _ in range(8):
        cy, cx, radius = rng.integers(16, 32), rng.integers(16, 32), rng.integers(7, 13)
        far = np.hypot(y - cy, x - cx) / radius
        value = np.interp(far, [0, 0.95, 1.05, 3], [1.0, 0.6, 0.25, 0.0]).astype(np.float32)
        rows.append(steadiness(maps_of(value), [0], reach=GRID.reach))
    chosen = choose(signs(np.concatenate(rows)), GRID.tried, num_classes=1).threshold
    assert 0.3 <= chosen <= 0.5
    assert all(a < b for a, b in itertools.pairwise(GRID.tried))
