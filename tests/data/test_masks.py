"""Masks of photos that EXIF data turn: upright or as the sensor has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from semples.data.dataset import open_dataset
from semples.data.masks import upright_mask
from semples.data.photos import PhotoError, read_photo
from tests import tiny


def write(folder: Path, name: str, size: tuple[int, int], orientation: int, *, sensor: bool) -> np.ndarray:
    """A turned photo and its mask; the upright mask. The mask's ones are where the photo is white."""
    drawn = np.zeros(size, np.uint8)
    drawn[: size[0] // 3, : size[1] // 2] = 1
    exif = Image.Exif()
    exif[274] = orientation
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(drawn[..., None] * 255, 3, axis=2)).save(folder / f"{name}.jpg", quality=95, exif=exif)
    with Image.open(folder / f"{name}.jpg") as image:  # Pillow's own turn as the independent word
        upright = (np.asarray(ImageOps.exif_transpose(image).convert("L")) > 127).astype(np.uint8)
    Image.fromarray(drawn if sensor else upright).save(folder / "masks" / f"{name}.png")
    return upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("sensor", [True, False])
def test_the_size_tells(orientation: int, sensor: bool, tmp_path: Path) -> None:
    upright = write(tmp_path, "a", (30, 48), orientation, sensor=sensor)
    way = "sensor" if sensor else "upright"
    mask = upright_mask(
        tmp_path / "masks" / "a.png", tmp_path / "a.jpg", max_megapixels=100,
        way=lambda: way if orientation < 5 else "unknown",  # half turns and mirrors are told by the others
    )  # fmt: skip
    np.testing.assert_array_equal(mask, upright)
    assert ((read_photo(tmp_path / "a.jpg").mean(2) > 127) == (mask > 0)).all()


@pytest.mark.parametrize("sensor", [True, False])
def test_others_tell_for_squares_and_half_turns(sensor: bool, tmp_path: Path) -> None:
    expected = {
        "a": write(tmp_path, "a", (40, 40), 6, sensor=sensor),
        "b": write(tmp_path, "b", (30, 48), 3, sensor=sensor),
        "c": write(tmp_path, "c", (30, 48), 8, sensor=sensor),
        "d": write(tmp_path, "d", (30, 48), 1, sensor=sensor),
    }
    (tmp_path / "tags.csv").write_text(
        "image,tags\n" + "".join(f"{name}.jpg,thing\n" for name in expected), encoding="utf-8"
    )
    dataset = open_dataset(tmp_path)
    for item in dataset.items:
        labels = dataset.mask(item)
        assert labels is not None
        np.testing.assert_array_equal(labels, expected[item.id])


def test_the_check_names_masks_that_nothing_tells_of(tmp_path: Path) -> None:
    write(tmp_path, "a", (40, 40), 6, sensor=True)
    write(tmp_path, "b", (30, 48), 1, sensor=True)
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,thing\nb.jpg,thing\n", encoding="utf-8")
    text = tiny.invoke("data", "check", tmp_path).out
    assert "a: its EXIF data turn it, and no size tells whether its mask is upright too" in text
    write(tmp_path, "b", (30, 48), 6, sensor=True)  # whose size tells
    assert "its EXIF data turn it" not in tiny.invoke("data", "check", tmp_path).out


def test_another_size_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a", (30, 48), 6, sensor=False)
    Image.new("L", (7, 9)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(PhotoError, match="7x9 pixels but its photo 30x48"):
        upright_mask(tmp_path / "masks" / "a.png", tmp_path / "a.jpg", max_megapixels=100)
