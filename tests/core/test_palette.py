from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.core.errors import UserError
from semples.core.palette import colour, read_label_png, voc_palette, write_label_png


def test_palette_begins_with_the_published_colours() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0)}
    known |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    palette = voc_palette()
    assert {value: tuple(palette[value].tolist()) for value in known} == known
    assert len(np.unique(palette, axis=0)) == 256


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_labels_survive_and_show_their_colours(
    tmp_path_factory: pytest.TempPathFactory, seed: int, height: int, width: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "ünï" / "a.b.png"
    labels = np.random.default_rng(seed).integers(0, 256, size=(height, width), dtype=np.uint8)
    write_label_png(path, labels)
    assert (read_label_png(path) == labels).all()
    with Image.open(path) as image:
        assert image.mode == "P"
        assert (np.asarray(image.convert("RGB")) == colour(labels)).all()
    first = path.read_bytes()
    write_label_png(path, labels.T.T)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["a.b.png"]


@pytest.mark.parametrize("mode", ["L", "1"])
def test_greyscale_masks_are_read_as_numbers(tmp_path: Path, mode: str) -> None:
    labels = np.array([[0, 1], [1, 0]], np.uint8)
    image = Image.fromarray(labels) if mode == "L" else Image.fromarray(labels.astype(bool))
    image.save(tmp_path / "mask.png")
    assert (read_label_png(tmp_path / "mask.png") == labels).all()


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.png: no such file"):
        read_label_png(tmp_path / "absent.png")
    path = tmp_path / "bad.png"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"bad\.png: not a picture"):
        read_label_png(path)
    write_label_png(path, np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"bad\.png: cannot be read"):
        read_label_png(path)
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(UserError, match=r"bad\.png: .*mode RGB"):
        read_label_png(path)
    with pytest.raises(ValueError, match="uint8"):
        write_label_png(path, np.zeros((2, 2), np.int64))
