"""Windows, mirrors and enlarging against plain computations."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.prediction import scores as module
from semples.prediction.scores import labels_from_scores, mirrored, view_size, window_starts, windowed


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99)
)
def test_labels_are_those_of_whole_enlarged_scores(
    count: int, h: int, w: int, height: int, width: int, seed: int
) -> None:
    scores = torch.randn(count, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    whole = F.interpolate(scores[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    with mock.patch.object(module, "STRIP", count * width * 3):  # strips of three rows
        found = labels_from_scores(scores, (height, width))
    assert found.dtype == np.uint8
    best = whole.gather(0, torch.from_numpy(found.astype(np.int64))[None])[0]
    assert (whole.amax(0) - best).max() < 1e-6  # ties apart, the winner


def test_only_allowed_labels_win() -> None:
    scores = torch.tensor([0.1, 0.7, 0.2]).view(3, 1, 1)
    assert labels_from_scores(scores, (2, 2)).tolist() == [[1, 1], [1, 1]]
    assert labels_from_scores(scores, (2, 2), values=(0, 2)).tolist() == [[2, 2], [2, 2]]
    assert labels_from_scores(scores, (1, 1), values=(0,)).tolist() == [[0]]


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 200))
def test_windows_cover_everything(window: int, stride: int, more: int) -> None:
    length, stride = window + more, min(stride, window)
    starts = window_starts(length, window, stride)
    assert sorted({place for start in starts for place in range(start, start + window)}) == list(range(length))
    assert starts == sorted(set(starts))
    assert starts[-1] == length - window


@pytest.mark.parametrize(("cell", "batch"), [(4, 1), (4, 5), (8, 3), (3, 4)])
def test_sliding_a_window_over_a_network_that_sees_one_cell_changes_nothing(cell: int, batch: int) -> None:
    def pixelwise(images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1] // cell
        assert images.shape[-2:] == (64, 64)
        return F.interpolate(images, size=(side, side), mode="area")

    images = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    found = windowed(pixelwise, window=64, stride=32, batch=batch)(images)
    if cell == 3:  # 64 / 3 is no whole number: a grid of a quarter of the window instead
        assert found.shape == (2, 3, 24, 40)
    else:
        torch.testing.assert_close(found, F.avg_pool2d(images, cell))


def test_a_place_has_the_mean_of_the_windows_over_it() -> None:
    def order(images: torch.Tensor) -> torch.Tensor:  # the mean of a window's own pixels, everywhere in it
        return images.mean((1, 2, 3), keepdim=True).expand(-1, 1, 16, 16)

    images = torch.zeros(1, 3, 64, 96)
    images[..., 64:] = 1.0
    found = windowed(order, window=64, stride=32, batch=8)(images)[0, 0, 0]
    assert found[:8].tolist() == [0.0] * 8
    assert found[8:16].tolist() == [0.25] * 8  # windows at 0 (mean 0) and 32 (mean one half)
    assert found[16:].tolist() == [0.5] * 8


def test_mirrors_are_turned_back() -> None:
    images = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirrored(lambda x: x)(images), images)
    left = torch.zeros(6).index_fill(0, torch.arange(3), 1.0)
    torch.testing.assert_close(mirrored(lambda x: x * left)(images), images / 2)


@pytest.mark.parametrize(
    ("photo", "options", "size"),
    [
        ((500, 375), {"short": 512}, (672, 512)),
        ((375, 500), {"short": 512, "scale": 0.5}, (256, 352)),
        ((9000, 300), {"short": 512}, (2048, 64)),  # the longer side is bounded
        ((96, 96), {"short": 96}, (96, 96)),
        ((1, 1), {"short": 96}, (96, 96)),
        ((500, 375), {"short": None, "window": 256}, (512, 384)),
        ((50, 40), {"short": None, "window": 256}, (256, 256)),
        ((20000, 10000), {"short": None, "window": 256}, (4096, 2048)),
        ((700, 100), {"short": 512, "window": 512}, (2048, 512)),
    ],
)
def test_view_sizes(photo: tuple[int, int], options: dict[str, int | None], size: tuple[int, int]) -> None:
    given_options = {"scale": 1.0, "window": None, **options}
    assert view_size(*photo, step=32, **given_options) == size  # type: ignore[arg-type]
