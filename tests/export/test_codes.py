"""Run-length codes against pycocotools and the reader of brush masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from semples.data.importers.brush import brush_to_rle
from semples.data.outlines import decode_rle
from semples.export.codes import brush_code, coco_counts, coco_rle, pack_counts
from semples.export.regions import find_regions
from tests.export.worlds import label_maps

MASKS = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24))


@settings(max_examples=100, deadline=None)
@given(labels=label_maps(max_side=20))
def test_codes_are_those_of_pycocotools(labels: np.ndarray) -> None:
    for region in find_regions(labels):
        whole = np.zeros(labels.shape, np.uint8)
        whole[region.window] = region.mask
        wanted = coco_mask.encode(np.asfortranarray(whole))
        code = coco_rle(region, labels.shape)
        assert code == {"size": list(wanted["size"]), "counts": wanted["counts"].decode()}


def test_by_hand() -> None:
    (region,) = find_regions(np.array([[0, 1, 1], [0, 1, 0]], np.uint8))
    assert coco_counts(region, (2, 3)) == [2, 3, 1]


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 2_000_000), min_size=1, max_size=8))
def test_long_runs_are_packed(counts: list[int]) -> None:
    size = (sum(counts), 1)
    unpacked = decode_rle({"size": [1, sum(counts)], "counts": pack_counts(counts)}, size)
    edges = np.flatnonzero(np.diff(unpacked[0])) + 1
    assert np.diff([0, *edges, sum(counts)]).tolist() == counts


@settings(max_examples=60, deadline=None)
@given(mask=MASKS)
def test_brush_masks_come_back(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    np.testing.assert_array_equal(decode_rle(brush_to_rle(brush_code(mask), size), size), mask)


def test_a_brush_mask_by_hand() -> None:
    # 8 values of 8 bits, run widths 3 4 8 16; runs of 4 zeros and of 4 times 255, each in 3 bits.
    head = f"{8:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    bits = head + "1" + "00" + "011" + "00000000" + "1" + "00" + "011" + "11111111"
    bits += "0" * (-len(bits) % 8)
    wanted = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    assert brush_code(np.array([[False, True]])) == wanted


def test_a_long_brush_run_is_split() -> None:
    mask = np.ones((300, 301), bool)
    mask[0, 0] = False
    size = (301, 300)
    np.testing.assert_array_equal(decode_rle(brush_to_rle(brush_code(mask), size), size), mask)
