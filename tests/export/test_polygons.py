"""Outlines: by hand, against pycocotools, and their promises."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from semples.export.polygons import AGREEMENT, fill, polygon, region_polygon, simplify, trace
from semples.export.regions import find_regions
from tests.export.worlds import blobs, label_maps


def drawn(ring: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A ring as pycocotools draws it."""
    code = coco_mask.frPyObjects([ring.ravel().astype(float).tolist()], shape[0], shape[1])
    return coco_mask.decode(coco_mask.merge(code)).astype(bool)


def test_by_hand() -> None:
    mask = np.array([[1, 1, 0], [1, 1, 1]], bool)
    (ring,) = trace(mask)
    assert ring.tolist() == [[0, 0], [2, 0], [2, 1], [3, 1], [3, 2], [0, 2]]


def test_parts_that_touch_by_a_corner_share_a_ring() -> None:
    for mask in (np.eye(3, dtype=bool), np.eye(3, dtype=bool)[::-1]):
        (ring,) = trace(mask)
        assert len(ring) == 12
        np.testing.assert_array_equal(drawn(ring, mask.shape), mask)


def test_a_ring_has_a_hole() -> None:
    mask = np.ones((5, 6), bool)
    mask[2, 2:4] = False
    outline, hole = trace(mask)
    assert outline.tolist() == [[0, 0], [6, 0], [6, 5], [0, 5]]
    assert sorted(hole.tolist()) == [[2, 2], [2, 3], [4, 2], [4, 3]]
    joined = polygon(mask, tolerance=0)
    assert len(joined) == 10  # both, and the cut there and back
    np.testing.assert_array_equal(fill(joined, mask.shape), mask)
    np.testing.assert_array_equal(drawn(joined, mask.shape), mask)


@settings(max_examples=80, deadline=None)
@given(labels=label_maps(), inset=st.sampled_from([0.0, 0.05]))
def test_without_tolerance_the_mask_is_exact(labels: np.ndarray, inset: float) -> None:
    for region in find_regions(labels):
        ring = region_polygon(region, tolerance=0, inset=inset)
        whole = np.zeros(labels.shape, bool)
        whole[region.window] = region.mask
        np.testing.assert_array_equal(drawn(ring, labels.shape), whole)
        np.testing.assert_array_equal(fill(ring, labels.shape), whole)


@settings(max_examples=80, deadline=None)
@given(labels=label_maps(max_side=20), tolerance=st.floats(0.1, 4))
def test_a_simple_outline_agrees_with_its_mask(labels: np.ndarray, tolerance: float) -> None:
    for region in find_regions(labels):
        ring = polygon(region.mask, tolerance=tolerance)
        there = drawn(ring, region.mask.shape)
        assert (there & region.mask).sum() >= (AGREEMENT - 0.02) * (there | region.mask).sum()


def test_fewer_corners_the_more_tolerance() -> None:
    y, x = np.mgrid[:200, :200]
    disc = (x - 100) ** 2 + (y - 100) ** 2 < 90**2
    corners = [len(polygon(disc, tolerance=tolerance)) for tolerance in (0, 1, 2)]
    assert corners[0] > 5 * corners[1] > 5 * corners[2]


def test_no_corner_is_left_out_that_is_too_far() -> None:
    ring = np.array([[0, 0], [10, 0], [10, 3], [12, 3], [12, 10], [0, 10]])
    for tolerance in (0.5, 1.5, 2.5, 20):
        kept = simplify(ring, tolerance)
        gone = [point for point in ring.tolist() if point not in kept.tolist()]
        edges = list(zip(kept, np.roll(kept, -1, axis=0), strict=True))
        for point in gone:
            distances = []
            for a, b in edges:
                part = np.clip(np.dot(point - a, b - a) / max(1, np.dot(b - a, b - a)), 0, 1)
                distances.append(np.linalg.norm(point - a - part * (b - a)))
            assert min(distances) <= tolerance
    assert len(simplify(ring, 0.5)) == 6
    assert len(simplify(ring, 2.5)) < 6


def cut_and_filled(ring: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels a program draws that cuts fractions off and fills outlines with the pixels on them, as OpenCV's does.

    Only for rings along rows and columns.
    """
    points = np.floor(ring).astype(int)
    inside = fill(points + 0.5, shape)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if x0 == x1 or y0 == y1:
            inside[min(y0, y1) : max(y0, y1) + 1, min(x0, x1) : max(x0, x1) + 1] = True
    return inside


@pytest.mark.parametrize("seed", range(5))
def test_an_inset_suits_programs_that_draw_the_outermost_pixels(seed: int) -> None:
    labels = blobs(40, 50, seed=seed)
    wrong = {0.0: 0, 0.05: 0}
    for region in find_regions(labels):
        for inset in wrong:
            ring = polygon(region.mask, tolerance=0, inset=inset)
            wrong[inset] += np.count_nonzero(cut_and_filled(ring, region.mask.shape) != region.mask)
    assert wrong[0.05] <= 4 < 40 < wrong[0.0]  # pixels; a few where a region touches itself by a corner


def holed(rows: int, columns: int, *, seed: int = 0) -> np.ndarray:
    """A mask with a round hole in each of rows x columns cells of 24 pixels."""
    rng = np.random.default_rng(seed)
    mask = np.ones((24 * rows, 24 * columns), bool)
    for row in range(rows):
        for column in range(columns):
            radius = int(rng.integers(2, 9))
            y, x = np.ogrid[-12:12, -12:12]
            cell = mask[24 * row : 24 * row + 24, 24 * column : 24 * column + 24]
            cell &= (y + 0.5) ** 2 + (x + 0.5) ** 2 > radius**2
    return mask


def test_many_holes_take_little_time() -> None:
    """2,240 holes, with the settings of the default paths of yolo and cvat-coco."""
    mask = holed(40, 56)
    begin = time.process_time()
    rings = [polygon(mask, tolerance=1.0, inset=inset) for inset in (0.0, 0.05)]
    assert time.process_time() - begin < 6  # 3 s each
    for ring in rings:
        redrawn = drawn(ring, mask.shape)
        assert (redrawn & mask).sum() / (redrawn | mask).sum() > AGREEMENT


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.5, 0.97), st.integers(0, 10_000))
def test_any_number_of_holes_is_exact(rows: int, columns: int, share: float, seed: int) -> None:
    labels = (np.random.default_rng(seed).random((3 * rows, 3 * columns)) < share).astype(np.uint8)
    for region in find_regions(labels, min_area=1):
        np.testing.assert_array_equal(drawn(polygon(region.mask, tolerance=0), region.mask.shape), region.mask)


def test_cuts_are_short() -> None:
    """Each hole is tied in where it comes nearest: the cuts of a row of holes are no longer than the gaps."""
    mask = np.ones((9, 60), bool)
    for left in range(3, 55, 6):
        mask[4, left : left + 4] = False  # gaps of 2 pixels between holes, of 3 and 4 to the edges
    ring = polygon(mask, tolerance=0)
    steps = np.abs(np.diff(np.concatenate([ring, ring[:1]]), axis=0))
    aslant = steps[(steps > 0).all(axis=1)]
    assert len(aslant) == 0 or aslant.max() <= 4
    np.testing.assert_array_equal(drawn(ring, mask.shape), mask)
