"""Regions: scoring and painting against hand-computed cases and brute force on masks; storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.labels import regions as module
from semples.labels.regions import (
    Level,
    Regions,
    average_scores,
    level_of_masks,
    level_of_segments,
    painted_scores,
    pixel_scores,
    power_of_threshold,
    region_scores,
)


def mask_of(level: Level, number: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """One region as a mask, written out run by run."""
    flat = np.zeros(shape[0] * shape[1], bool)
    for region, start, length in zip(level.region, level.start, level.length, strict=True):
        if region == number:
            flat[start : start + length] = True
    return flat.reshape(shape)


@st.composite
def drawn_regions(draw: st.DrawFn) -> Regions:
    """Levels of overlapping masks, and levels that cover the photo."""
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    levels = []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            levels.append(level_of_segments(rng.integers(0, 5, shape) * 3))
        else:
            masks = [rng.random(shape) < rng.random() for _ in range(draw(st.integers(0, 4)))]
            masks = [mask for mask in masks if mask.any()]
            levels.append(level_of_masks(masks, rng.random(len(masks)).tolist()))
    return Regions(shape, tuple(levels))


def test_a_case_by_hand() -> None:
    """FMA-WSSS sec. 3 on a photo of one row: two regions in level 0, one above a part of them in level 1."""
    photo = (1, 5)
    low = level_of_segments(np.array([[0, 0, 1, 1, 2]]))
    high = level_of_masks([np.array([[False, True, True, False, False]])], [0.9])
    cams = np.array([[[0.9, 0.7, 0.3, 0.1, -5.0]], [[0.0, 0.4, 0.2, 0.6, 0.0]]], np.float32)
    # means: class 0: 0.8 0.2 0.0 | 0.5; class 1: 0.2 0.4 0.0 | 0.3. min-max over all four regions:
    # class 0: 1.0 0.25 0.0 | 0.625; class 1: 0.5 1.0 0.0 | 0.75
    regions = Regions(photo, (low, high))
    scores = region_scores(regions, cams, power=0.7)
    np.testing.assert_allclose(scores[0][1:], [[1, 0.25, 0], [0.5, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(scores[1][1:], [[0.625], [0.75]], atol=1e-6)
    np.testing.assert_allclose(scores[0][0], [0, 0, 1], atol=1e-4)  # (1 - best)^0.7
    np.testing.assert_allclose(scores[1][0], [0.25**0.7], atol=1e-6)
    painted = pixel_scores(regions, cams, power=0.7, combine="paint")
    assert painted.argmax(0).tolist() == [[1, 2, 2, 2, 0]]
    np.testing.assert_allclose(painted[:, 0, 1], [0.25**0.7, 0.625, 0.75], atol=1e-6)
    mean = pixel_scores(regions, cams, power=0.7, combine="average")
    np.testing.assert_allclose(mean[:, 0, 1], [0.25**0.7 / 2, (1 + 0.625) / 2, (0.5 + 0.75) / 2], atol=1e-4)
    np.testing.assert_allclose(mean[:, 0, 4], [1, 0, 0], atol=1e-4)


def test_a_region_that_no_class_claims_is_background_even_on_top() -> None:
    all_of_it, part = np.ones((2, 2), bool), np.array([[True, False], [False, False]])
    cams = np.array([[[0.0, 1.0], [1.0, 1.0]]], np.float32)
    regions = Regions((2, 2), (level_of_masks([all_of_it], [1.0]), level_of_masks([part], [1.0])))
    assert pixel_scores(regions, cams, power=0.7, combine="paint").argmax(0).tolist() == [[0, 1], [1, 1]]


def test_pixels_in_no_region_are_background_with_certainty() -> None:
    regions = Regions((1, 3), (level_of_masks([np.array([[True, False, False]])], [1.0]), level_of_masks([], [])))
    cams = np.full((2, 1, 3), 0.8, np.float32)
    for combine in ("paint", "average"):
        scores = pixel_scores(regions, cams, power=0.7, combine=combine)  # type: ignore[arg-type]
        np.testing.assert_array_equal(scores[:, 0, 2], [1, 0, 0])
    empty = Regions((1, 3), (level_of_masks([], []),))
    assert pixel_scores(empty, cams, power=0.7, combine="paint").argmax(0).tolist() == [[0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(drawn_regions(), st.integers(1, 3), st.integers(0, 10_000))
def test_scores_equal_brute_force(regions: Regions, count: int, seed: int) -> None:
    """Means, normalisation, painting and averaging written out with one mask a region, in float64."""
    rng = np.random.default_rng(seed)
    cams = rng.random((count, *regions.shape)).astype(np.float32) - np.float32(0.1)
    powers = rng.random(count) + 0.7
    masks = [[mask_of(level, number, regions.shape) for number in range(len(level))] for level in regions.levels]
    for level, of_level in zip(regions.levels, masks, strict=True):
        assert level.areas.tolist() == [mask.sum() for mask in of_level]
    clipped = np.maximum(cams.astype(np.float64), 0)
    means = [
        np.array([[cam[mask].mean() for mask in of_level] for cam in clipped]).reshape(count, -1) for of_level in masks
    ]
    together = np.concatenate(means, axis=1)
    expected = []
    for mean in means:
        if together.size:
            span = together.max(1, keepdims=True) - together.min(1, keepdims=True)
            mean = (mean - together.min(1, keepdims=True)) / (span + 1e-8)
        background = (1 - mean.max(0)) ** powers[mean.argmax(0)] if mean.size else np.zeros(mean.shape[1])
        expected.append(np.concatenate([background[None], mean]))
    scores = region_scores(regions, cams, power=powers)
    for mine, right in zip(scores, expected, strict=True):
        # A class that is the same in all regions has a span of rounding errors: nothing to compare.
        if together.size and (np.ptp(together, axis=1) > 1e-3).all():
            np.testing.assert_allclose(mine[1:], right[1:], atol=1e-5)
            leads = np.diff(np.sort(right[1:], axis=0)[-2:], axis=0) if count > 1 else np.ones((1, right.shape[1]))
            clear = leads[0] > 1e-4  # of two equally good classes either may give the power
            np.testing.assert_allclose(mine[0][clear], right[0][clear], atol=1e-3)

    nothing = np.eye(1 + count, 1)[:, 0]
    painted = np.tile(nothing[:, None, None], (1, *regions.shape))
    average = np.zeros(painted.shape)
    for values, of_level in zip(scores, masks, strict=True):
        for number in sorted(range(len(of_level)), key=lambda number: (values[:, number].max(), number)):
            painted[:, of_level[number]] = values[:, number, None]
        inside = [
            [values[:, n] for n, mask in enumerate(of_level) if mask[place]] for place in np.ndindex(*regions.shape)
        ]
        level = np.array([np.mean(scores_here, axis=0) if scores_here else nothing for scores_here in inside])
        average += level.T.reshape(average.shape) / len(masks)
    np.testing.assert_allclose(painted_scores(regions, scores), painted)
    np.testing.assert_allclose(average_scores(regions, scores), average, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.81])
def test_background_wins_up_to_the_threshold(threshold: float) -> None:
    power = float(power_of_threshold(threshold))
    assert (1 - threshold) ** power == pytest.approx(threshold)
    for score in np.linspace(0, 1, 41):
        if abs(score - threshold) > 1e-9:
            assert ((1 - score) ** power > score) == (score < threshold)
    several = power_of_threshold(np.array([0.5, threshold], np.float32))
    np.testing.assert_allclose(several, [1, power], rtol=1e-6)
    assert np.isfinite(power_of_threshold(np.array([0.0, 1.0], np.float32))).all()


@settings(max_examples=40, deadline=None)
@given(drawn_regions())
def test_what_is_stored_comes_back(regions: Regions) -> None:
    data = module.encode_regions(regions)
    decoded = module.decode_regions(data)
    assert decoded.shape == regions.shape
    assert len(decoded) == len(regions)
    assert module.encode_regions(decoded) == data
    for mine, right in zip(decoded.levels, regions.levels, strict=True):
        for name in ("region", "start", "length"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(right, name))
            assert getattr(mine, name).dtype == np.int32
        np.testing.assert_allclose(mine.quality, right.quality, atol=0.005001)


def test_broken_files_are_named(tmp_path: Path) -> None:
    regions = Regions((3, 4), (level_of_segments(np.arange(12).reshape(3, 4) // 5),))
    module.write_regions(tmp_path, "sub/a", regions)
    assert len(module.read_regions(tmp_path, "sub/a")) == 3
    path = tmp_path / "sub/a.npz"
    with pytest.raises(UserError, match="no such file; make the regions"):
        module.read_regions(tmp_path, "b")
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"PK" + bytes(100), whole[:-30] + bytes(30)):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"a\.npz: broken regions file"):
            module.read_regions(tmp_path, "sub/a")
    layout, quality = np.array([3, 4, 1, 1], np.int32), np.zeros(1, np.uint8)
    for run in ([0, 0, 13], [0, -1, 2], [0, 3, 0], [1, 0, 2]):  # too long, before the photo, empty, no region 0
        np.savez(path, layout=layout, runs=np.array(run, np.int32)[:, None], quality=quality)
        with pytest.raises(UserError, match=r"a\.npz: broken regions file"):
            module.read_regions(tmp_path, "sub/a")
    np.savez(path, layout=np.array([object()]), runs=quality, quality=quality)
    with pytest.raises(UserError, match="broken regions file"):
        module.read_regions(tmp_path, "sub/a")


def test_empty_masks_and_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="mask 1 is empty"):
        level_of_masks([np.ones((2, 2), bool), np.zeros((2, 2), bool)], [1, 1])
    regions = Regions((2, 2), (level_of_segments(np.zeros((2, 2), int)),))
    with pytest.raises(ValueError, match="do not fit"):
        pixel_scores(regions, np.zeros((1, 2, 3), np.float32), power=0.7, combine="paint")
