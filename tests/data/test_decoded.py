"""Photos that are decoded once: the same pixels, however many processes there are, whatever becomes of the files."""

from __future__ import annotations

import errno
import gc
import math
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.core import unnamed
from semples.data import decoded
from semples.data.dataset import FileDataset, Item, PhotoError, with_items
from semples.data.decoded import Layout, decoded_bytes
from semples.data.demo.world import DemoWorld
from semples.data.photos import read_photo
from semples.data.transforms import train_crop
from semples.recipe import AugmentSettings
from tests.data.kept import Counted, draw_counted, once, sizes_of


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return draw_counted(tmp_path / "photos")


@pytest.mark.parametrize("on_disk", [False, True])
def test_every_photo_is_decoded_once(counted: Counted, tmp_path: Path, on_disk: bool) -> None:
    before = sorted(tmp_path.iterdir())
    photos = once(counted, folder=tmp_path if on_disk else None)
    some = with_items(photos, photos.items[1:4])
    for _ in range(3):
        for item in photos.items:
            assert np.array_equal(photos.photo(item), read_photo(item.photo))
        assert np.array_equal(some.photo(0), read_photo(photos.items[1].photo))
    assert counted.decoded == [item.id for item in photos.items]
    if sys.platform.startswith("linux"):  # nothing that a killed run could leave
        assert sorted(tmp_path.iterdir()) == before


def test_what_has_no_room_is_read_from_its_file(counted: Counted) -> None:
    sizes = sizes_of(counted)
    first = dict(list(sizes.items())[:2])
    photos = once(counted, most=decoded_bytes(first))
    for _ in range(2):
        for item in photos.items:
            assert np.array_equal(photos.photo(item), read_photo(item.photo))
    assert [counted.decoded.count(id) for id in sizes] == [1, 1, 2, 2, 2]
    assert not Layout.of(sizes, most=decoded_bytes(first) - 1).numbers.keys() - list(sizes)[:1]
    assert Layout.of(sizes, most=decoded_bytes(sizes)).size == decoded_bytes(sizes)


def test_a_photo_that_changes_is_read_anew(counted: Counted) -> None:
    photos = once(counted)
    item = photos.items[0]
    before = photos.photo(item)
    Image.fromarray(255 - before).save(item.photo)
    assert np.array_equal(photos.photo(item), 255 - before)
    Image.fromarray(before[:-3]).save(item.photo)  # of another size
    assert np.array_equal(photos.photo(item), before[:-3])
    Image.fromarray(before).save(item.photo)
    assert np.array_equal(photos.photo(item), before)


def test_damaged_and_missing_photos_are_what_they_are_without(counted: Counted) -> None:
    photos, item = once(counted), counted.whole.items[0]
    whole = item.photo.read_bytes()
    item.photo.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(PhotoError) as with_cache:
            photos.photo(item)
        with pytest.raises(PhotoError) as without:
            counted.whole.photo(item)
        assert str(with_cache.value) == str(without.value)
    item.photo.write_bytes(whole)
    photos.photo(item)
    item.photo.unlink()
    with pytest.raises(PhotoError, match="no such file"):
        photos.photo(item)


def test_sent_to_where_it_cannot_be_opened(counted: Counted) -> None:
    packed = pickle.dumps(photos := once(counted))
    del photos
    gc.collect()
    sent = pickle.loads(packed)
    assert sent.kept is None
    assert np.array_equal(sent.photo(sent.items[0]), read_photo(sent.items[0].photo))


@pytest.mark.parametrize("room", ["full", "scarce"])
def test_where_room_ends_nothing_more_is_kept(counted: Counted, monkeypatch: pytest.MonkeyPatch, room: str) -> None:
    photos = once(counted)

    def full(handle: int, data: memoryview, place: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    if room == "full":
        monkeypatch.setattr(decoded, "write_at", full)
    else:
        monkeypatch.setattr(decoded, "free_memory", lambda: 0)
    for _ in range(2):
        for item in photos.items:
            assert np.array_equal(photos.photo(item), read_photo(item.photo))
    assert len(counted.decoded) == 2 * len(photos.items)


def test_no_room_at_all(counted: Counted, tmp_path: Path) -> None:
    photos = once(counted, folder=tmp_path / "gone")
    assert photos.kept is None
    assert np.array_equal(photos.photo(0), read_photo(photos.items[0].photo))


def without_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(unnamed, "HANDLES", tmp_path / "none")
    monkeypatch.delattr(os, "memfd_create", raising=False)


@pytest.mark.parametrize("lacking", [(), ("preadv", "pwrite")])
def test_systems_whose_open_files_have_names(
    counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]
) -> None:
    without_names(monkeypatch, tmp_path)
    for name in lacking:
        monkeypatch.delattr(os, name, raising=False)
    room = tmp_path / "room"
    room.mkdir()
    photos = once(counted, folder=room)
    assert len(list(room.iterdir())) == 1
    sent = pickle.loads(pickle.dumps(photos))
    for _ in range(2):
        for item in photos.items:
            assert np.array_equal(photos.photo(item), read_photo(item.photo))
            assert np.array_equal(sent.photo(item), read_photo(item.photo))
    assert counted.decoded == [item.id for item in photos.items]
    del sent
    gc.collect()
    assert len(list(room.iterdir())) == 1
    del photos
    gc.collect()
    assert not list(room.iterdir())


def psnr(left: np.ndarray, right: np.ndarray) -> float:
    error = float(np.square(left.astype(float) - right.astype(float)).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def test_how_much_a_reduced_photo_changes_views(tmp_path: Path) -> None:
    """Views of 96 px from drawn photos of 256 px: nearly the same down to 192 px, and duller below."""
    path = tmp_path / "photo.png"
    settings = AugmentSettings(crop_scale=(0.6, 1.0), randaugment_ops=0, colour_jitter=0, erasing=0)
    near: dict[int, list[float]] = {}
    for index in range(4):
        whole = DemoWorld(seed=0, family="train", resolution=256).draw(index).photo
        Image.fromarray(whole).save(path)
        counted = Counted(FileDataset(name="", root=tmp_path, classes=None, items=(Item("a", path, ()),), problems=()))  # type: ignore[arg-type]
        views = {}
        for side in (0, 256, 192, 128, 64):
            photos = once(counted, max_side=side)
            assert [max(photos.photo(0).shape) for _ in range(2)] == [side or 256] * 2
            crops = [
                train_crop(photos.photo(0), settings, size=96, mean=(0.5,) * 3, seed=0, epoch=0, index=seed).pixels  # type: ignore[arg-type]
                for seed in range(4)
            ]
            views[side] = np.stack([crop.numpy() for crop in crops])
            near.setdefault(side, []).append(psnr(views[0], views[side]))
    means = {side: sum(values) / len(values) for side, values in near.items()}
    assert means[0] == means[256] == math.inf
    assert math.inf > means[192] > means[128] > means[64]
    assert means[192] > 31  # dB; 32.5 on the day this was written
    assert means[128] > 29
