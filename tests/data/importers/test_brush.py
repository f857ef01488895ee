"""Brush masks: a packer of the published format, written here, and one case worked out by hand."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semples.data.importers.brush import BrushError, brush_to_rle
from semples.data.outlines import decode_rle


def pack(mask: np.ndarray, widths: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """A mask (H, W) of 0 and 1 as an RGBA drawing in Label Studio's packing."""
    values = (np.repeat(mask[..., None], 4, axis=2) * 255).ravel().tolist()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    position = 0
    while position < len(values):
        run = 1
        while position + run < len(values) and values[position + run] == values[position] and run < 2 ** widths[-1]:
            run += 1
        pieces = values[position : position + 3]
        if run < 3 and len(pieces) == 3:  # three single values
            bits += "0" + f"{0:02b}" + f"{2:0{widths[0]}b}" + "".join(f"{value:08b}" for value in pieces)
            position += 3
        else:
            choice = next(k for k, width in enumerate(widths) if run <= 2**width)
            bits += "1" + f"{choice:02b}" + f"{run - 1:0{widths[choice]}b}" + f"{values[position]:08b}"
            position += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)))
def test_packed_masks_come_back(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    np.testing.assert_array_equal(decode_rle(brush_to_rle(pack(mask), size), size), mask)


def test_by_hand() -> None:
    # 8 values, width 8, run widths 1 2 3 4; a run of 4 zeros (choice 1: 2 bits, 3), a run of 4 times 255.
    bits = (
        f"{8:032b}" + "00111" + "0000" + "0001" + "0010" + "0011" + "1" + "01" + "11" + "00000000" + "1" + "01" + "11"
    )
    bits += "11111111" + "0" * 7
    data = [int(bits[start : start + 8], 2) for start in range(0, len(bits) // 8 * 8, 8)]
    assert brush_to_rle(data, (2, 1)) == {"size": [1, 2], "counts": [1, 1]}


@pytest.mark.parametrize("cut", [0, 3, 6, 8, 12])
def test_cut_off(cut: int) -> None:
    with pytest.raises(BrushError):
        brush_to_rle(pack(np.eye(4, dtype=np.uint8))[:cut], (4, 4))


def test_nonsense() -> None:
    good = pack(np.eye(4, dtype=np.uint8))
    for data, size in ((good, (5, 4)), ([300, *good], (4, 4)), ([*good[:4], 255, *good[5:]], (4, 4))):
        with pytest.raises(BrushError):
            brush_to_rle(data, size)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=40))
def test_any_bytes_are_a_mask_or_refused(data: list[int]) -> None:
    with suppress(BrushError):
        assert sum(brush_to_rle([0, 0, 0, 16, *data], (2, 2))["counts"]) == 4
