"""What every label method must do. A new line in `LABEL_METHODS` is tested from here without another change."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.evaluation.selection import Grid
from semples.labels.base import Calibration, LabelInput, LabelMethod
from semples.labels.make import calibration_of, make_label_method
from semples.labels.regions import Regions, level_of_segments
from semples.labels.scored import Scored, Thresholds, label_values
from semples.settings.kinds import LABEL_METHODS, label_settings
from semples.settings.labels import CrfSettings, SlicSettings

CLASSES = 4
CRF = CrfSettings(sxy_gaussian=1.0, sxy_bilateral=6.0, srgb=10.0, iterations=3)
PLAIN = list(LABEL_METHODS.shipped)
NAMES = [*PLAIN, *(f"{name}+crf" for name in PLAIN)]
FALLING = {"threshold"}  # a higher threshold never adds foreground: what the page's slider stands on


def made(name: str, **changes: Any) -> LabelMethod:
    settings = replace(label_settings(name)(), method=name, **changes)
    method = make_label_method(settings, regions=SlicSettings(), crf=CRF, num_classes=CLASSES)
    method.fit([given(seed) for seed in range(3)], thresholds=0.3)
    return method


def given(
    seed: int = 0,
    *,
    tags: tuple[int, ...] = (0, 2),
    size: tuple[int, int] = (20, 28),
    shape: tuple[int, int] | None = None,
) -> LabelInput:
    """A photo of random blocks with smooth CAMs of `shape`."""
    rng = np.random.default_rng(seed)
    shape = shape or size
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None]
    cams = {}
    for tag in tags:
        centre = rng.random(2)
        distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        cams[tag] = np.exp(-4 * distance).astype(np.float32)
    blocks = (np.mgrid[: size[0], : size[1]] // 4).astype(int)
    numbers = blocks[0] * 100 + blocks[1]
    photo = rng.integers(0, 256, (numbers.max() + 1, 3), dtype=np.uint8)[numbers]
    regions = Regions(size, (level_of_segments(numbers), level_of_segments(numbers // 200)))
    features = rng.standard_normal((5, 7, 8)).astype(np.float32)
    return LabelInput(
        id=f"p{seed}",
        cams=cams,
        shape=shape,
        size=size,
        tags=tags,
        photo=lambda: photo.copy(),
        regions=lambda: regions,
        features=lambda: features.copy(),
    )


@pytest.mark.parametrize("name", PLAIN)
def test_what_it_says_of_itself(name: str) -> None:
    method = made(name)
    assert method.name == name
    assert method.needs <= {"regions", "features"}
    assert method.about
    assert made(f"{name}+crf").needs == method.needs
    assert made(f"{name}+crf").calibration == method.refined_calibration == calibration_of(f"{name}+crf")
    for calibration in (method.calibration, method.refined_calibration):
        assert 0 <= calibration.grid.maps[0] < calibration.grid.maps[-1] <= 1
        assert calibration.quality is None or calibration.quality.error > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "photo",
    [
        given(),
        given(1, tags=(3,)),
        given(2, tags=()),
        given(3, shape=(10, 14)),
        given(4, shape=(41, 55), tags=(1, 0, 3)),
        given(5, size=(1, 9)),
        given(6, size=(13, 1), shape=(6, 1), tags=(0, 1, 2, 3)),
    ],
    ids=["plain", "one class", "no tags", "small CAMs", "large CAMs", "a row", "a column"],
)
def test_labels_of_any_photo(name: str, photo: LabelInput) -> None:
    method = made(name)
    for thresholds in (0.0, 0.45, 1.0, np.array([0.1, 0.5, 0.3, 0.9], np.float32)):
        labelled = method.label(photo, thresholds)
        assert labelled.labels.dtype == np.uint8
        assert labelled.confidence.dtype == np.float32
        assert labelled.labels.shape == labelled.confidence.shape == photo.size
        assert np.isfinite(labelled.confidence).all()
        assert 0 <= labelled.confidence.min() <= labelled.confidence.max() <= 1
        assert set(np.unique(labelled.labels)) <= {0, *(tag + 1 for tag in photo.tags)}
        if not photo.tags:
            assert (labelled.confidence == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_equal_photos_have_equal_labels(name: str) -> None:
    """Another object, in another order of photos, gives the same bits."""
    first, second = made(name), made(name)
    second.label(given(7, size=(9, 31)), 0.2)
    for seed in (0, 1):
        one, other = first.label(given(seed), 0.4), second.label(given(seed), 0.4)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.confidence, other.confidence)


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_is_the_labels_at_each_threshold(name: str) -> None:
    method, thresholds = made(name, min_confidence=0.3), (0.05, 0.3, 0.31, 0.6, 0.95)
    closed = made(name)
    for photo in (given(), given(3, shape=(10, 14)), given(2, tags=())):
        maps = method.sweep(photo, thresholds)
        assert all(labels.dtype == np.uint8 and labels.shape == photo.size for labels in maps)
        np.testing.assert_array_equal(maps, [closed.label(photo, threshold).labels for threshold in thresholds])
    assert method.sweep(given(), ()) == []


@pytest.mark.parametrize("name", NAMES)
def test_unsure_pixels_are_open(name: str) -> None:
    whole = made(name).label(given(), 0.4)
    least = float(np.median(whole.confidence)) + 0.01
    opened = made(name, min_confidence=least).label(given(), 0.4)
    np.testing.assert_array_equal(whole.confidence, opened.confidence)
    unsure = whole.confidence < np.float32(least)
    assert unsure.any()
    np.testing.assert_array_equal(opened.labels, np.where(unsure, 255, whole.labels))


@pytest.mark.parametrize("name", sorted(FALLING))
def test_a_higher_threshold_adds_no_foreground(name: str) -> None:
    maps = made(name).sweep(given(4, tags=(1, 0, 3)), [step / 20 for step in range(21)])
    for low, high in itertools.pairwise(maps):
        assert not (high[low == 0]).any()
    assert not maps[-1].any()
    assert maps[0].all()


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learned_is_kept(name: str, tmp_path: Path) -> None:
    """Another object that takes it up gives the same bits, for photos that were learned from and for others."""
    fitted = made(name)
    if not fitted.kept_as:
        return
    path = tmp_path / fitted.kept_as
    fitted.save(path)
    settings = replace(label_settings(name)(), method=name)
    again = make_label_method(settings, regions=SlicSettings(), crf=CRF, num_classes=CLASSES)
    again.load(path)
    for seed in (0, 2, 9):
        one, other = fitted.label(given(seed), 0.4), again.label(given(seed), 0.4)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.confidence, other.confidence)
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    for content in (b"", b"{}", path.read_bytes()[:-5]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a"):
            again.load(path)


@pytest.mark.parametrize("name", NAMES)
def test_the_method_whose_threshold_is_looked_for(name: str) -> None:
    """It needs no threshold before it labels: it learns nothing, or nothing that depends on one."""
    chosen = made(name).selecting
    assert chosen.selecting is chosen
    assert not chosen.kept_as
    assert chosen.settings.method == chosen.name or chosen.name == "threshold+crf"


class Learned(LabelMethod):
    """Foreground where the photo is brighter than the mean of all photos; needs no CAM values."""

    name = "learned"
    needs = frozenset({"features"})
    calibration = Calibration(Grid(reach=1))
    mean = -1.0

    def fit(self, photos: Iterable[LabelInput], *, thresholds: Thresholds | None = None) -> None:
        self.mean = float(np.mean([photo.photo().mean() for photo in photos]))

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        assert photo.features().ndim == 3
        if not photo.cams:
            return Scored.background(photo.size)
        bright = (photo.photo().mean(2) > self.mean).astype(np.float32)
        scores = np.stack([1 - bright, *(bright / (index + 1) for index in range(len(photo.cams)))])
        values = label_values(photo.cams)
        return Scored(values, scores, values[scores.argmax(0)])


@pytest.mark.parametrize("ending", ["", "+crf"])
def test_a_method_of_another_module_that_learns(ending: str) -> None:
    method = made(f"{__name__}:Learned{ending}")
    assert method.learns
    assert not made("threshold").learns
    photo = given()
    mean = float(np.mean([given(seed).photo().mean() for seed in range(3)]))
    labelled = method.label(photo, 0.4)
    bright = photo.photo().mean(2) > mean
    if not ending:
        np.testing.assert_array_equal(labelled.labels, bright)
    assert labelled.labels.shape == photo.size
    assert method.calibration.quality is None
    assert method.name == f"learned{ending}"


def test_names_that_are_not_known() -> None:
    with pytest.raises(UserError, match="label method 'regionz' is not known; did you mean regions"):
        made("regionz+crf")
    with pytest.raises(UserError, match="not known"):
        made("+crf")
    with pytest.raises(UserError, match="cannot be imported"):
        made("no.such.module:Name")
