"""Photos of more than 8 bits a channel, written by tifffile and Pillow, against their known values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.data.photos import PhotoError, read_photo
from tests import tiny

tifffile = pytest.importorskip("tifffile")


def values(shape: tuple[int, ...], greatest: int, *, seed: int = 0) -> np.ndarray:
    """Random uint16 values with 0 and the greatest among them."""
    drawn = np.random.default_rng(seed).integers(0, greatest + 1, shape).astype(np.uint16)
    drawn.flat[0], drawn.flat[1] = 0, greatest
    return drawn


def scaled(deep: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(deep / (2**bits - 1) * 255).clip(0, 255)


def colours(read: np.ndarray, expected: np.ndarray) -> None:
    wanted = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    assert read.shape == wanted.shape
    assert abs(read.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "rgb.tif", "packed.tif", "big.tif"])
def test_bits_that_are_named(kind: str, bits: int, tmp_path: Path) -> None:
    path = tmp_path / kind
    photo = values((20, 30) if kind.startswith("grey") else (20, 30, 3), 2**bits - 1)
    if kind == "grey.png":
        Image.fromarray(photo).save(path)
    else:
        tifffile.imwrite(
            path,
            photo,
            photometric="minisblack" if photo.ndim == 2 else "rgb",
            compression="zlib" if kind == "packed.tif" else None,
            byteorder=">" if kind == "big.tif" else "<",
        )
    colours(read_photo(path, bits=bits), scaled(photo, bits))
    if bits == 16:
        colours(read_photo(path), scaled(photo, 16))
    if bits <= 12:
        with pytest.raises(PhotoError, match=r"16 bits a channel, but no value above \d+.*--bits 12"):
            read_photo(path)
        assert read_photo(path, bits=16).max() <= 16  # somebody says so


def test_a_file_that_says_its_greatest_value(tmp_path: Path) -> None:
    photo = values((20, 30), 4095)
    tifffile.imwrite(tmp_path / "a.tif", photo, extratags=[(281, "H", 1, 4095, True)])
    colours(read_photo(tmp_path / "a.tif"), scaled(photo, 12))


def test_black_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").max() == 0


def test_turned_photos_of_16_bits(tmp_path: Path) -> None:
    photo = values((20, 30, 3), 65535)
    tifffile.imwrite(tmp_path / "a.tif", photo, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    colours(read_photo(tmp_path / "a.tif"), np.rot90(scaled(photo, 16), -1))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("bits", [8, 16])
def test_planar_colours_are_right_or_refused(bits: int, compression: str | None, tmp_path: Path) -> None:
    photo = values((20, 30, 3), 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)
    path = tmp_path / "planar.tif"
    planes = photo.transpose(2, 0, 1)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", compression=compression)
    if bits == 16 and compression is None:
        with pytest.raises(PhotoError, match="one plane of 16 bits for each colour"):
            read_photo(path)
    else:
        colours(read_photo(path), scaled(photo, bits))


def test_a_tiff_in_floating_point_is_called_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.float32), photometric="rgb")
    with pytest.raises(PhotoError, match="a TIFF of 3 channels of 32-bit floating-point numbers"):
        read_photo(tmp_path / "a.tif")


def test_the_data_check_names_them(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=3)
    for name in ("masks",):
        for path in (photos / name).iterdir():
            path.unlink()
    Image.fromarray(values((40, 50), 4095)).save(photos / "p01.png")
    text = tiny.invoke("data", "check", photos).out
    assert "Photos that cannot be read: 1" in text
    assert "--bits 12" in text
    assert "Photos that cannot be read" not in tiny.invoke("data", "check", photos, "--bits", "12").out
