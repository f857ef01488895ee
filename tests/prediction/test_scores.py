"""Windows, mirrors and enlarging against plain computations."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.data.photos import resize_photo
from semples.data.transforms import image_to_tensor
from semples.prediction import scores as module
from semples.prediction import views as views_module
from semples.prediction.scores import (
    AllRows,
    MeanRows,
    WindowRows,
    enlarged,
    labels_from_scores,
    mirrored,
    window_starts,
)
from semples.prediction.views import LONGEST, Look, View


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
        labels = labels_from_scores(scores, (height, width)).labels
    assert labels.dtype == np.uint8
    best = whole.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    assert (whole.amax(0) - best).max() < 1e-6  # ties apart, the winner


def test_only_allowed_labels_win() -> None:
    scores = torch.tensor([0.1, 0.7, 0.2]).view(3, 1, 1)
    assert labels_from_scores(scores, (2, 2)).labels.tolist() == [[1, 1], [1, 1]]
    assert labels_from_scores(scores, (2, 2), values=(0, 2)).labels.tolist() == [[2, 2], [2, 2]]
    assert labels_from_scores(scores, (1, 1), values=(0,)).labels.tolist() == [[0]]


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 200))
def test_windows_cover_everything(window: int, stride: int, more: int) -> None:
    length, stride = window + more, min(stride, window)
    starts = window_starts(length, window, stride)
    assert sorted({place for start in starts for place in range(start, start + window)}) == list(range(length))
    assert starts == sorted(set(starts))
    assert starts[-1] == length - window


def view_of(images: torch.Tensor) -> View:
    """A view whose windows are cut from float images (3,H,W)."""
    view = View(np.zeros((*images.shape[1:], 3), np.uint8), (images.shape[1], images.shape[2]), mean=MEAN, std=STD)
    view.cut = lambda top, left, window: images[:, top : top + window[0], left : left + window[1]]  # type: ignore
    return view


def all_rows(rows: WindowRows, *, step: int = 1) -> torch.Tensor:
    """Everything, read `step` rows at a time and one row over."""
    count = rows.shape[1]
    return torch.cat([rows.read(first, min(count, first + step)) for first in range(0, count, step)], dim=1)


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.mark.parametrize(("cell", "batch"), [(4, 1), (4, 5), (8, 3), (3, 4)])
@pytest.mark.parametrize("step", [1, 5, 100])
def test_sliding_a_window_over_a_network_that_sees_one_cell_changes_nothing(cell: int, batch: int, step: int) -> None:
    def pixelwise(images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1] // cell
        assert images.shape[-2:] == (64, 64)
        return F.interpolate(images, size=(side, side), mode="area")

    image = torch.rand(3, 96, 160, generator=torch.Generator().manual_seed(0))
    rows = WindowRows(pixelwise, view_of(image), window=(64, 64), stride=(32, 32), batch=batch)
    read = all_rows(rows, step=step)
    assert read.shape == rows.shape
    if cell == 3:  # 64 / 3 is no whole number: a grid of a quarter of the window instead
        assert read.shape == (3, 24, 40)
    else:
        torch.testing.assert_close(read, F.avg_pool2d(image, cell))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 5), st.integers(0, 5), st.integers(1, 3), st.integers(1, 3),
    st.integers(1, 9),
)  # fmt: skip
def test_oblong_windows_mean_what_a_plain_sum_means(
    tall: int, wide: int, more: int, broader: int, down: int, across: int, batch: int
) -> None:
    """Against scores added up in one large array."""
    window, size = (8 * tall, 8 * wide), (8 * (tall + more), 8 * (wide + broader))
    stride = (8 * min(down, tall), 8 * min(across, wide))
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(more))

    def score(images: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(images, 4) * images.mean((1, 2, 3), keepdim=True)

    total, count = torch.zeros(3, size[0] // 4, size[1] // 4), torch.zeros(size[0] // 4, size[1] // 4)
    for top in window_starts(size[0], window[0], stride[0]):
        for left in window_starts(size[1], window[1], stride[1]):
            cut = image[:, top : top + window[0], left : left + window[1]]
            place = (slice(top // 4, (top + window[0]) // 4), slice(left // 4, (left + window[1]) // 4))
            total[:, place[0], place[1]] += score(cut[None])[0]
            count[place] += 1
    rows = WindowRows(score, view_of(image), window=window, stride=stride, batch=batch)
    torch.testing.assert_close(all_rows(rows, step=2), total / count)


def test_a_place_has_the_mean_of_the_windows_over_it() -> None:
    def order(images: torch.Tensor) -> torch.Tensor:  # the mean of a window's own pixels, everywhere in it
        return images.mean((1, 2, 3), keepdim=True).expand(-1, 1, 16, 16)

    image = torch.zeros(3, 64, 96)
    image[..., 64:] = 1.0
    means = all_rows(WindowRows(order, view_of(image), window=(64, 64), stride=(32, 32), batch=8))[0, 0]
    assert means[:8].tolist() == [0.0] * 8
    assert means[8:16].tolist() == [0.25] * 8  # windows at 0 (mean 0) and 32 (mean one half)
    assert means[16:].tolist() == [0.5] * 8


def test_several_scales_are_averaged_on_the_largest() -> None:
    large, small = torch.rand(2, 12, 20), torch.rand(2, 6, 10)
    expected = (large + F.interpolate(small[None], size=(12, 20), mode="bilinear", align_corners=False)[0]) / 2
    torch.testing.assert_close(all_rows(MeanRows([AllRows(large), AllRows(small)]), step=5), expected)  # type: ignore
    whole = F.interpolate(large[None], size=(37, 50), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(enlarged(AllRows(large), (37, 50), 9, 30), whole[:, 9:30])


def test_confidence_is_the_lead_of_the_label() -> None:
    scores = torch.rand(4, 9, 7, generator=torch.Generator().manual_seed(0))
    segmented = labels_from_scores(scores, (9, 7), confident=True)
    best, second = (scores / scores.sum(0)).topk(2, dim=0).values
    assert segmented.confidence is not None
    np.testing.assert_allclose(segmented.confidence, (best - second).numpy(), atol=1e-6)
    among = labels_from_scores(scores, (9, 7), values=(0, 2), confident=True)
    assert among.confidence is not None
    pair = scores[[0, 2]]
    np.testing.assert_allclose(among.confidence, ((pair[0] - pair[1]).abs() / pair.sum(0)).numpy(), atol=1e-6)
    alone = labels_from_scores(scores, (9, 7), values=(0,), confident=True)
    assert alone.confidence is not None
    assert (alone.confidence == 1).all()
    opened = segmented.opened(0.3)
    assert ((opened.labels == 255) == (segmented.confidence < 0.3)).all()
    assert (opened.labels == np.where(segmented.confidence < 0.3, 255, segmented.labels)).all()


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
        ((9000, 300), {"short": 512}, (15360, 512)),  # a strip keeps its shape
        ((10000, 40), {"short": 96}, (24000, 96)),
        ((96, 96), {"short": 96}, (96, 96)),
        ((1, 1), {"short": 96}, (96, 96)),
        ((500, 375), {"short": None, "window": 256}, (512, 384)),
        ((50, 40), {"short": None, "window": 256}, (320, 256)),  # both sides by one factor
        ((384, 96), {"short": None, "window": 256}, (1024, 256)),
        ((6048, 4032), {"short": None, "window": 512}, (6048, 4032)),
        ((20000, 10000), {"short": None, "window": 256}, (20000, 9984)),  # at its own resolution
        ((700, 100), {"short": 512, "window": 512}, (3584, 512)),
        ((40000, 2), {"short": 512}, (1048576, 64)),  # enlarged to 67 megapixels at most
    ],
)
def test_view_sizes(photo: tuple[int, int], options: dict[str, int | None], size: tuple[int, int]) -> None:
    chosen = {"window": None, "scale": 1.0, **options}
    look = Look(step=32, least=64, short=chosen["short"], window=chosen["window"])  # type: ignore[arg-type]
    computed = look.size(*photo, scale=float(chosen["scale"] or 1))
    assert computed == (size[1], size[0])


def test_windows_go_along_a_strip() -> None:
    look = Look(step=8, least=8, short=120)
    size = look.size(10000, 40, scale=1.0)
    assert size == (120, 30000)
    assert look.windows(size) == ((120, LONGEST * 120), (120, 240))
    assert look.windows((30000, 120)) == ((480, 120), (240, 120))
    assert look.windows((120, 480)) is None
    assert Look(step=8, least=8, short=None, window=64).windows((64, 64)) == ((64, 64), (32, 32))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 120), st.integers(1, 120), st.integers(0, 9))
def test_rows_resized_when_asked_for_are_those_of_the_whole(h: int, w: int, height: int, width: int, seed: int) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    whole = resize_photo(photo, width, height)
    with mock.patch.object(views_module, "WHOLE", 0):
        view = View(photo, (height, width), mean=MEAN, std=STD)
    for top in range(0, height, 17):
        part = view.rows(top, min(height, top + 17)).astype(int)
        assert abs(part - whole[top : top + 17].astype(int)).max() <= 1
    torch.testing.assert_close(view.whole(), image_to_tensor(whole, MEAN, STD), atol=0.025, rtol=0)
