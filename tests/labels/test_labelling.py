"""Labels and confidences of every method against definitions written out pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.labels.bank_method import Bank
from semples.labels.base import LabelInput, LabelMethod, check_thresholds
from semples.labels.crf.dense import DenseCrf, margin, unary_from_labels
from semples.labels.make import make_label_method
from semples.labels.regions import Regions, level_of_segments, pixel_scores, power_of_threshold
from semples.labels.scored import Scored
from semples.labels.scored_regions import by_regions
from semples.labels.threshold import by_threshold, label_map
from semples.settings.bank import BankLabelSettings
from semples.settings.labels import CrfSettings, LabelSettings, SlicSettings

CRF = CrfSettings(sxy_gaussian=1.0, sxy_bilateral=5.0, srgb=8.0)


def drawn_cams(seed: int, shape: tuple[int, int], classes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """CAMs with values on a grid, so that ties and values equal to thresholds occur."""
    rng = np.random.default_rng(seed)
    return {index: (rng.integers(0, 11, shape) / 10).astype(np.float32) for index in classes}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.lists(st.integers(0, 5), max_size=3, unique=True),
    st.integers(0, 10),
)
def test_threshold_labels_and_their_lead(seed: int, shape: tuple[int, int], classes: list[int], tenths: int) -> None:
    cams, threshold = drawn_cams(seed, shape, tuple(classes)), tenths / 10
    made = by_threshold(cams, shape, threshold)
    np.testing.assert_array_equal(made.labels, label_map(cams, shape, threshold=threshold))
    confidence = made.labelled.confidence
    assert confidence.dtype == np.float32
    power = float(power_of_threshold(threshold))
    for place in np.ndindex(*shape):
        values = sorted((float(cam[place]) for cam in cams.values()), reverse=True)
        if not values:
            assert confidence[place] == 1
            continue
        background = (1 - values[0]) ** power
        if made.labels[place]:
            expected = values[0] - max([background, *values[1:]])
        else:
            expected = background - values[0]
        assert confidence[place] == pytest.approx(min(1, max(0, expected)), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True))
def test_a_threshold_for_each_class(seed: int, classes: list[int]) -> None:
    """The winner by CAM is foreground above the threshold of its own class."""
    cams = drawn_cams(seed, (5, 4), tuple(classes))
    thresholds = (np.random.default_rng(seed).integers(1, 10, 5) / 10).astype(np.float32)
    made = by_threshold(cams, (5, 4), thresholds)
    for place in np.ndindex(5, 4):
        best = max(classes, key=lambda index: (cams[index][place], -classes.index(index)))
        expected = best + 1 if cams[best][place] > thresholds[best] else 0
        assert made.labels[place] == expected
    same = by_threshold(cams, (5, 4), np.full(5, 0.4, np.float32))
    single = by_threshold(cams, (5, 4), 0.4)
    np.testing.assert_array_equal(same.labels, single.labels)
    np.testing.assert_allclose(same.labelled.confidence, single.labelled.confidence, atol=1e-6)


def test_confidence_is_zero_at_the_threshold_and_one_at_the_ends() -> None:
    cams = {0: np.array([[0.0, 0.2, 0.4, 0.7, 1.0]], np.float32)}
    confidence = by_threshold(cams, (1, 5), 0.4).labelled.confidence[0]
    assert confidence[0] == confidence[4] == 1
    assert confidence[2] == pytest.approx(0, abs=1e-6)
    assert 0 < confidence[1] < 1
    assert 0 < confidence[3] < 1


def test_regions_by_the_threshold() -> None:
    """With `background: threshold` and one level, a region is foreground where its score is above the threshold."""
    cams = {3: np.array([[0.0, 0.0, 0.3, 0.5, 1.0, 1.0]], np.float32)}  # region scores 0, 0.4, 1
    regions = Regions((1, 6), (level_of_segments(np.array([[0, 0, 1, 1, 2, 2]])),))
    for threshold, expected in ((0.39, [0, 0, 4, 4, 4, 4]), (0.41, [0, 0, 0, 0, 4, 4])):
        thresholds = np.array([0.9, 0.9, 0.9, threshold, 0.9], np.float32)
        for power in (power_of_threshold(threshold), power_of_threshold(thresholds)):
            made = by_regions(cams, regions, power=power, combine="average")
            assert made.labels.tolist() == [expected]
            assert made.labelled.confidence[0, 2] == pytest.approx(0, abs=0.04)
    assert by_regions(cams, regions, power=0.7, combine="paint").labels.tolist() == [[0, 0, 0, 0, 4, 4]]
    assert by_regions({}, regions, power=0.7, combine="paint").labels.tolist() == [[0] * 6]


def method_of(method: str, **changes: object) -> LabelMethod:
    settings = LabelSettings(method=method, **changes)  # type: ignore[arg-type]
    regions = SlicSettings(background="threshold")
    return make_label_method(settings, regions=regions, crf=CRF, num_classes=3)


def photo_and_regions(shape: tuple[int, int]) -> tuple[np.ndarray, Regions]:
    rng = np.random.default_rng(3)
    photo = np.kron(rng.integers(0, 256, (shape[0] // 4, shape[1] // 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    blocks = np.arange(shape[0] * shape[1]).reshape(shape)
    return photo, Regions(shape, (level_of_segments(blocks // 4), level_of_segments(blocks // (4 * shape[1]))))


@pytest.mark.parametrize("method", ["threshold", "crf", "regions", "regions+crf"])
def test_every_method(method: str) -> None:
    shape = (12, 16)
    cams = drawn_cams(1, shape, (0, 2))
    photo, regions = photo_and_regions(shape)
    given = LabelInput(
        id="p", cams=cams, shape=shape, size=shape, tags=(0, 2), photo=lambda: photo, regions=lambda: regions
    )
    labelled = method_of(method).label(given, 0.4)
    assert labelled.labels.dtype == np.uint8
    assert labelled.confidence.dtype == np.float32
    assert set(np.unique(labelled.labels)) <= {0, 1, 3}
    first = by_threshold(cams, shape, 0.4)
    if "regions" in method:
        scores = pixel_scores(
            regions, np.stack(list(cams.values())), power=float(power_of_threshold(0.4)), combine="average"
        )
        first = Scored(np.array([0, 1, 3], np.uint8), scores, np.array([0, 1, 3], np.uint8)[scores.argmax(0)])
    if "crf" not in method:
        top = np.sort(first.scores, axis=0)
        np.testing.assert_array_equal(labelled.labels, first.labels)
        np.testing.assert_allclose(labelled.confidence, top[-1] - top[-2], atol=1e-5)
        return
    numbers = torch.from_numpy(np.searchsorted([0, 1, 3], first.labels))
    unary = unary_from_labels(numbers, count=3, confidence=CRF.confidence)
    marginals = DenseCrf(CRF).marginals([torch.from_numpy(photo)], [unary])[0]
    best = marginals.argmax(0).numpy()
    np.testing.assert_array_equal(labelled.labels, np.array([0, 1, 3])[best])
    for place in np.ndindex(*shape):
        scores = first.scores[(slice(None), *place)]
        lead = scores[best[place]] - np.delete(scores, best[place]).max()
        expected = float(margin(marginals)[place]) * (1 + lead) / 2
        assert labelled.confidence[place] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["threshold", "crf", "regions", "regions+crf"])
def test_reduced_cams_and_photos_without_tags(method: str) -> None:
    """CAMs and regions of a reduced photo give labels of its own size; a photo without tags is surely background."""
    photo, _ = photo_and_regions((24, 32))
    _, regions = photo_and_regions((12, 16))
    given = LabelInput(
        id="p",
        cams=drawn_cams(2, (6, 8), (1,)),
        shape=(6, 8),
        size=(24, 32),
        tags=(1,),
        photo=lambda: photo,
        regions=lambda: regions,
    )
    labelled = method_of(method).label(given, 0.4)
    assert labelled.labels.shape == labelled.confidence.shape == (24, 32)
    assert (labelled.labels == 2).any()
    empty = method_of(method).label(replace(given, cams={}, tags=()), 0.4)
    assert not empty.labels.any()
    assert (empty.confidence == 1).all()


def test_uncertain_pixels_are_left_open() -> None:
    cams = {0: np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)}
    given = LabelInput(id="p", cams=cams, shape=(8, 8), size=(8, 8), tags=(0,))
    whole, opened = (method_of("threshold", min_confidence=least).label(given, 0.4) for least in (0.0, 0.3))
    np.testing.assert_array_equal(whole.confidence, opened.confidence)
    assert 0 < (opened.labels == 255).sum() < 40
    np.testing.assert_array_equal(opened.labels == 255, whole.confidence < np.float32(0.3))
    np.testing.assert_array_equal(opened.labels[whole.confidence >= 0.3], whole.labels[whole.confidence >= 0.3])


def test_thresholds_are_checked() -> None:
    check_thresholds(0.3, num_classes=4)
    check_thresholds(np.full(4, 0.3, np.float32), num_classes=4)
    for wrong in (np.full(3, 0.3, np.float32), 1.2, np.array([0, 0, 0, -0.1], np.float32), math.nan):
        with pytest.raises(UserError, match="background threshold"):
            check_thresholds(wrong, num_classes=4)


@pytest.mark.parametrize("method", ["threshold", "crf", "regions", "regions+crf"])
def test_a_sweep_is_the_labels_at_every_threshold(method: str) -> None:
    shape, made = (12, 16), method_of(method)
    photo, regions = photo_and_regions(shape)
    cams, thresholds = drawn_cams(5, shape, (1, 2)), (0.02, 0.3, 0.31, 0.6, 0.95)
    given = LabelInput(
        id="p", cams=cams, shape=shape, size=shape, tags=(1, 2), photo=lambda: photo, regions=lambda: regions
    )
    swept = made.sweep(given, thresholds)
    expected = [made.label(given, threshold).labels for threshold in thresholds]
    np.testing.assert_array_equal(swept, expected)
    assert len({labels.tobytes() for labels in swept}) > 2


def test_a_photo_that_comes_without_regions() -> None:
    given = LabelInput(id="p", cams=drawn_cams(1, (4, 4), (0,)), shape=(4, 4), size=(4, 4), tags=(0,))
    with pytest.raises(UserError, match="was not given"):
        method_of("regions").label(given, 0.4)


def test_a_bank_that_would_lose_a_tag_leaves_the_map_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes that deny a tag do not count; those that show all tags, or no fewer than the map before, do."""
    bank = Bank(BankLabelSettings(method="bank"), regions=SlicSettings(background="threshold"), num_classes=3)
    earlier = bank.before
    photo = LabelInput(id="p", cams={}, shape=(4, 4), size=(4, 4), tags=(0, 1))

    def scored(*shown: int) -> Scored:
        labels = np.zeros((4, 4), np.uint8)
        labels[0, : len(shown)] = shown
        return Scored(np.arange(3, dtype=np.uint8), np.zeros((3, 4, 4), np.float32), labels)

    def kept(voted: Scored, before: Scored) -> Scored:
        monkeypatch.setattr(bank, "named", lambda photo, tags: voted)
        monkeypatch.setattr(earlier, "score", lambda photo, thresholds: before)
        one = bank.score(photo, 0.4)
        (swept,) = bank.scores(photo, [0.4])
        assert one is swept
        return one

    both, first, none = scored(1, 2), scored(1), scored()
    assert kept(both, none) is both
    assert kept(first, both) is both
    assert kept(none, first) is first
    assert kept(first, first) is first
    assert kept(first, scored(2)).labels[0, 0] == 1
