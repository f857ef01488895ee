"""Training views: photo, labels and weights are cut alike, and depend on their key alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semples.core.errors import UserError
from semples.data.photos import reduced
from semples.recipe import NoiseSettings, SegmentAugmentSettings, SegmenterSettings
from semples.run.paired import paired_dataset
from semples.segmenter.views import LabelFolder, MaskedViews, labelled, pasted, segment_view
from tests import tiny

PLAIN = SegmentAugmentSettings(scale=(1.0, 1.0), flip=0.0, colour_jitter=0.0)
SETTINGS = SegmenterSettings(image_size=32, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), augment=PLAIN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.draw_photos(tmp_path / "photos", count=6)


def views(folder: Path, settings: SegmenterSettings = SETTINGS, labels: Path | None = None) -> MaskedViews:
    maps = LabelFolder(folder / "masks" if labels is None else labels)
    dataset = paired_dataset(folder, maps.folder, None)
    return MaskedViews(dataset=labelled(dataset, maps), labels=maps, settings=settings, seed=3)


def test_photo_and_labels_are_cut_alike() -> None:
    """A photo that shows its own labels still does after every change but interpolation."""
    labels = np.kron(np.arange(24, dtype=np.uint8).reshape(4, 6), np.ones((10, 10), np.uint8))
    photo = np.stack([labels * 10] * 3, axis=2)
    augment = SegmentAugmentSettings(scale=(0.6, 2.0), flip=0.5, colour_jitter=0.0)
    padded = mirrored = 0
    for seed in range(30):
        view, cut, weight = segment_view(
            photo, labels, labels + 100, settings=augment, size=48, fill=(7, 8, 9), rng=np.random.default_rng(seed)
        )
        assert view.shape == (48, 48, 3)
        empty = cut == 255
        assert (view[empty] == (7, 8, 9)).all()
        assert (weight[empty] == 0).all()
        assert (weight[~empty] == cut[~empty] + 100).all()
        near = abs(view[..., 0].astype(int) - cut.astype(int) * 10)[~empty] < 6
        assert near.mean() > 0.7  # all but the seams
        padded += empty.any()
        steps = np.diff(cut.astype(int), axis=1)[~empty[:, 1:] & ~empty[:, :-1]]
        mirrored += (steps < 0).any()
    assert 5 < padded < 30
    assert 5 < mirrored < 25


def test_a_smaller_copy_of_the_photo_is_cut_like_its_labels() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    photo, labels = (
        np.array(coarse.resize((240, 180), Image.Resampling.BICUBIC)),
        rng.integers(0, 3, (180, 240), np.uint8),
    )
    augment = SegmentAugmentSettings(scale=(0.6, 2.0), flip=0.5, colour_jitter=0.0)
    for seed in range(30):
        whole, half, other = (
            segment_view(
                shown, labels, labels, settings=augment, size=64, fill=(0, 0, 0), rng=np.random.default_rng(seed)
            )
            for shown in (photo, reduced(photo, max_side=121), reduced(photo, max_side=121)[:, ::-1])
        )
        assert np.array_equal(whole[1], half[1])
        assert np.array_equal(whole[2], half[2])
        difference = abs(whole[0].astype(int) - half[0].astype(int)).mean()
        assert difference < 3 < abs(whole[0].astype(int) - other[0].astype(int)).mean()


def test_without_changes_a_square_photo_is_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo, labels = rng.integers(0, 256, (32, 32, 3), np.uint8), rng.integers(0, 3, (32, 32), np.uint8)
    view, cut, weight = segment_view(
        photo, labels, np.full_like(labels, 255), settings=PLAIN, size=32, fill=(0, 0, 0), rng=rng
    )
    assert (view == photo).all()
    assert (cut == labels).all()
    assert (weight == 255).all()


def test_views_depend_on_their_key_alone(folder: Path) -> None:
    settings = replace(SETTINGS, augment=SegmentAugmentSettings())
    one, two = views(folder, settings), views(folder, settings)
    later = [two[(1, 2)], two[(0, 2)], two[(1, 1)]]
    for left, right in zip(one[(1, 2)], later[0], strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one[(1, 2)][0], later[1][0])
    batch = one.collate([one[(0, 0)], one[(0, 1)]])
    assert batch.labels.dtype == torch.uint8
    assert batch.image.shape == (2, 3, 32, 32)
    assert batch.to(torch.device("cpu")).weight.shape == (2, 32, 32)


def test_things_of_another_photo_stand_in_front_with_their_labels_and_weights() -> None:
    rng = np.random.default_rng(1)
    photos = rng.integers(0, 256, (2, 9, 9, 3), np.uint8)
    labels = rng.choice(np.array([0, 1, 2, 255], np.uint8), (2, 9, 9))
    weights = rng.integers(0, 256, (2, 9, 9), np.uint8)
    photo, made, weight = pasted((photos[0], labels[0], weights[0]), (photos[1], labels[1], weights[1]))
    for row in range(9):
        for column in range(9):
            source = 0 if labels[0, row, column] in (1, 2) else 1
            assert (photo[row, column] == photos[source, row, column]).all()
            assert made[row, column] == labels[source, row, column]
            assert weight[row, column] == weights[source, row, column]


def test_pasting_follows_its_probability_and_the_key_alone(folder: Path) -> None:
    plain = views(folder)
    never = views(folder, replace(SETTINGS, augment=replace(PLAIN, paste=0.0)))
    often = views(folder, replace(SETTINGS, augment=replace(PLAIN, paste=0.5)))
    keys = [(epoch, index) for epoch in range(10) for index in range(len(plain.dataset.items))]
    changed = 0
    for key in keys:
        assert torch.equal(plain[key][2], never[key][2])
        assert torch.equal(plain[key][0], never[key][0])
        first, again = often[key], often[key]
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        grown = (first[2] != 0) & (first[2] != 255)
        here = (plain[key][2] != 0) & (plain[key][2] != 255)
        assert (grown | ~here).all()  # what the photo itself shows may be covered, by a thing
        changed += not torch.equal(first[0], plain[key][0])
    assert 0.1 * len(keys) < changed < 0.6 * len(keys)  # some photos hold no thing


def test_confidences_leave_out_or_weigh(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    for path in (folder / "masks").iterdir():
        values = tiny.pixels(path)
        (labels / "confidence").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full_like(values, 1)).save(labels / path.name)
        confidence = np.full_like(values, 200)
        confidence[: values.shape[0] // 2] = 100
        Image.fromarray(confidence).save(labels / "confidence" / path.name)
    (labels / "classes.txt").write_text("disc\nsquare\n", encoding="utf-8")
    left_out = replace(SETTINGS, noise=NoiseSettings(ignore_below=0.5))
    _, _, cut, weight = views(folder, left_out, labels)[(0, 0)]
    assert {int(value) for value in cut.unique()} == {1, 255}
    assert {int(value) for value in weight.unique()} == {255}
    weighed = replace(SETTINGS, noise=NoiseSettings(weigh=True))
    _, _, cut, weight = views(folder, weighed, labels)[(0, 0)]
    assert {int(value) for value in cut.unique()} == {1}
    assert {int(value) for value in weight.unique()} == {100, 200}


def test_label_maps_that_do_not_fit_are_named(folder: Path) -> None:
    masks = folder / "masks"
    values = tiny.pixels(masks / "p02.png")
    tiny.save(masks / "p02.png", np.full_like(values, 7))
    with pytest.raises(UserError, match=r"p02\.png: holds the label 7, but there are 2 classes"):
        views(folder)
    tiny.save(masks / "p02.png", values[1:])
    with pytest.raises(UserError, match=r"p02\.png: .* but its photo has .*save both at the same size"):
        views(folder)
    (masks / "p02.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"p02\.png: not a picture"):
        views(folder)
    tiny.save(masks / "p02.png", np.full_like(values, 255))  # nothing known: left out
    assert len(views(folder).dataset.items) == 5
    for path in masks.iterdir():
        tiny.save(path, np.full_like(tiny.pixels(path), 255))
    with pytest.raises(UserError, match="no pixel of the 6 label maps is labelled"):
        views(folder)


def test_photos_and_label_maps_are_paired_by_name(folder: Path, tmp_path: Path) -> None:
    (folder / "masks" / "p01.png").unlink()
    paired = paired_dataset(folder, folder / "masks", None)
    assert [item.id for item in paired.items] == ["p00", "p02", "p03", "p04", "p05"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no label map"):
        paired_dataset(folder, tmp_path / "empty", folder / "classes.txt")
    (folder / "classes.txt").unlink()
    with pytest.raises(UserError, match="no such class list; name one with --classes"):
        paired_dataset(folder, folder / "masks", None)
    with pytest.raises(UserError, match="no such folder"):
        paired_dataset(folder / "nowhere", folder, None)
