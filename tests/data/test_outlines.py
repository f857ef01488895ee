"""Run-length codes and polygons against pycocotools; order and refusals by hand."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from semples.core.errors import UserError
from semples.data import outlines
from semples.data.outlines import OutlineError, decode_rle, draw, write_labels
from semples.data.photos import read_mask

coco = pytest.importorskip("pycocotools.mask")


def counts_of(mask: np.ndarray) -> list[int]:
    flat = mask.ravel(order="F").astype(int)
    counts, value, run = [], 0, 0
    for pixel in flat:
        if pixel == value:
            run += 1
        else:
            counts.append(run)
            value, run = pixel, 1
    return [*counts, run]


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.integers(0, 1)))
def test_both_forms_of_run_length_codes(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    packed = coco.encode(np.asfortranarray(mask))
    code = {"size": list(mask.shape), "counts": packed["counts"].decode()}
    np.testing.assert_array_equal(decode_rle(code, size), mask)
    np.testing.assert_array_equal(decode_rle({"size": list(mask.shape), "counts": counts_of(mask)}, size), mask)


def test_long_runs_in_the_compressed_form() -> None:
    mask = np.zeros((700, 900), np.uint8)
    mask[3:600, 100:850] = 1
    mask[5, ::2] ^= 1
    code = {"size": [700, 900], "counts": coco.encode(np.asfortranarray(mask))["counts"].decode()}
    np.testing.assert_array_equal(decode_rle(code, (900, 700)), mask)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-5, 45, allow_nan=False, width=32), min_size=6, max_size=12).filter(
            lambda p: len(p) % 2 == 0
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_as_pycocotools_draws_them(polygons: list[list[float]]) -> None:
    oracle = coco.decode(coco.merge(coco.frPyObjects(polygons, 30, 40)))
    np.testing.assert_array_equal(draw((40, 30), [(1, polygons)]), oracle)


def square(left: int, top: int, side: int) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_first_listed_lies_on_top() -> None:
    labels = draw((10, 10), [(7, square(0, 0, 5)), (90, square(0, 0, 10)), (3, square(2, 2, 6))])
    expected = np.full((10, 10), 90, np.uint8)
    expected[:5, :5] = 7
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint8


def test_points_and_lines_have_no_area() -> None:
    assert not draw((10, 10), [(1, [[1, 1], [2, 2, 8, 8]]), (2, [])]).any()


HOSTILE: list[Any] = [
    "text", 7, [[1, 2, 3]], [[1, 2, 3, 4, 5, float("nan")]], [[1, 2, 3, 4, 5, float("inf")]],
    [[1, 2, 3, 4, 5, 10**400]],
    [["a"] * 6], [None], [[1, 1, 2, 2, 3, 1e6]], [[0.0, 0.0, 35.0, 35.0] * 60_000], {}, {"size": [10, 10]},
    {"size": [10, 11], "counts": [110]}, {"size": [10, 10], "counts": [99]}, {"size": [10, 10], "counts": [-1, 101]},
    {"size": [10, 10], "counts": [1.5, 98.5]}, {"size": [10, 10], "counts": [True, 99]},
    {"size": [10, 10], "counts": "é"}, {"size": [10, 10], "counts": "ooooooooooooo0"},
    {"size": [10, 10], "counts": "o"},
    {"size": [10, 10], "counts": [10**400]}, {"size": [10, 10], "counts": b"T3"},
]  # fmt: skip


@pytest.mark.parametrize("outline", HOSTILE, ids=range(len(HOSTILE)))
def test_nonsense_is_refused(outline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "MAX_LENGTH", 1_000_000)
    with pytest.raises(OutlineError):
        draw((10, 10), [(1, outline)])


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_any_text_is_a_mask_or_refused(text: str) -> None:
    with suppress(OutlineError):
        assert decode_rle({"size": [3, 5], "counts": text}, (5, 3)).shape == (3, 5)


def test_impossible_sizes() -> None:
    for size in ((0, 5), (-1, -1), (10**6, 10**6)):
        with pytest.raises(OutlineError):
            draw(size, [])


def test_written_masks_are_read_back_and_coloured(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 255], [90, 20, 2]], np.uint8)
    write_labels(tmp_path / "m.png", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), labels)
    with Image.open(tmp_path / "m.png") as image:
        assert image.convert("RGB").getpixel((1, 0)) == (128, 0, 0)
        assert image.convert("RGB").getpixel((2, 0)) == (224, 224, 192)


def test_without_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(UserError, match=r"pip install 'semples\[coco\]'"):
        draw((10, 10), [(1, square(0, 0, 5))])
    assert draw((2, 1), [(4, {"size": [1, 2], "counts": [1, 1]})]).tolist() == [[0, 4]]
