"""Regions against SciPy's labelling."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semples.export.regions import find_regions
from tests.export.worlds import label_maps


@settings(max_examples=100, deadline=None)
@given(labels=label_maps(max_side=20), min_area=st.integers(1, 6))
def test_regions_are_those_of_scipy(labels: np.ndarray, min_area: int) -> None:
    wanted = set()
    for label in (1, 2, 3):
        numbers, count = ndimage.label(labels == label, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            mask = numbers == number
            if mask.sum() >= min_area:
                wanted.add((label - 1, mask.tobytes()))
    listed = []
    for region in find_regions(labels, min_area=min_area):
        whole = np.zeros(labels.shape, bool)
        whole[region.window] = region.mask
        assert region.area == whole.sum()
        rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
        assert region.box == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        listed.append((region.index, whole.tobytes()))
    assert len(listed) == len(set(listed))
    assert set(listed) == wanted


def test_reading_order() -> None:
    labels = np.array([[0, 2, 0, 1], [1, 0, 0, 1], [0, 0, 3, 0]], np.uint8)
    assert [region.index for region in find_regions(labels)] == [1, 0, 0, 2]


def test_a_line_does_not_go_on_in_the_next_row() -> None:
    labels = np.array([[0, 0, 1], [1, 0, 0]], np.uint8)
    assert len(list(find_regions(labels))) == 2
