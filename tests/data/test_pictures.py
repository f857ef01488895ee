"""Intact photos of rare kinds are read; of what is not read the reason is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from semples.data.photos import PhotoError, probe, read_mask, read_photo

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def tiff(path: Path, *, bits: int, kind: int, channels: int, data: bytes) -> Path:
    """A TIFF of 8x8 pixels whose table of contents says what is asked for."""
    entries = [(256, 4, 8), (257, 4, 8), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 134), (277, 3, channels),
               (278, 4, 8), (279, 4, len(data)), (339, 3, kind)]  # fmt: skip
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    for tag, form, value in entries:
        head += struct.pack("<HHI", tag, form, 1) + (
            struct.pack("<HH", value, 0) if form == 3 else struct.pack("<I", value)
        )
    path.write_bytes(head + struct.pack("<I", 0) + data)
    return path


def test_long_texts_and_odd_profiles_change_nothing(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("prompt", "x" * 3_000_000, zip=True)
    texts.add_itxt("workflow", "y" * 2_000_000, zip=True)
    texts.add_text("parameters", "z" * 70_000)
    Image.fromarray(PIXELS).save(tmp_path / "texts.png", pnginfo=texts)
    Image.fromarray(PIXELS).save(tmp_path / "profile.png", icc_profile=bytes(2_000_000))
    Image.fromarray(PIXELS).save(tmp_path / "profile.tif", icc_profile=b"junk" * 1000)
    for name in ("texts.png", "profile.png", "profile.tif"):
        np.testing.assert_array_equal(read_photo(tmp_path / name), PIXELS)
        assert probe(tmp_path / name) == (32, 24)


def test_a_turn_that_stands_in_a_text_is_kept(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("prompt", "x" * 3_000_000, zip=True)
    texts.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>',
    )
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=texts)
    assert probe(tmp_path / "a.png") == (24, 32)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(("white", "slack"), [(1.0, 0), (255.0, 0), (65535.0, 0)])
def test_floats_up_to_1_255_or_65535(tmp_path: Path, white: float, slack: int) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray((grey / 255 * white).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.abs(read_photo(tmp_path / "a.tif")[..., 0].astype(int) - grey).max() <= slack


@pytest.mark.parametrize(
    ("bits", "kind", "channels", "said"),
    [
        (64, 3, 1, "1 channels of 64-bit floating-point"),
        (32, 3, 3, "3 channels of 32-bit floating-point"),
        (16, 3, 1, "16-bit floating-point"),
    ],
)
def test_a_tiff_that_is_not_read_says_what_it_holds(
    tmp_path: Path, bits: int, kind: int, channels: int, said: str
) -> None:
    path = tiff(tmp_path / "a.tif", bits=bits, kind=kind, channels=channels, data=bytes(64 * bits // 8 * channels))
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert said in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (b"8BPS" + bytes(40), "Photoshop"),
        (b"%PDF-1.4", "PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"\xff\xd8\xff\xc3\0\x0b\x0c\0\x10\0\x10\3" + bytes(90), "rare process"),
        (b"<html>", "web page"),
    ],
)
def test_other_files_are_called_by_their_kind(tmp_path: Path, start: bytes, said: str) -> None:
    (tmp_path / "a.jpg").write_bytes(start)
    with pytest.raises(PhotoError, match=said):
        read_photo(tmp_path / "a.jpg")


def test_heic_and_avif(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    smooth = np.repeat(np.repeat(PIXELS[::8, ::8], 16, 0), 16, 1)
    heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / "a.heic", quality=95)
    names = ["a.heic"]
    if features.check("avif"):
        Image.fromarray(smooth).save(tmp_path / "a.avif", quality=95)
        names.append("a.avif")
    for name in names:
        assert probe(tmp_path / name) == (smooth.shape[1], smooth.shape[0])
        assert np.abs(read_photo(tmp_path / name).astype(int) - smooth).mean() < 12


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.eye(4), None),
        (np.eye(4, dtype=np.int64)[None], None),
        (np.eye(4) / 2, "whole numbers"),
        (-np.eye(4), "0 to 255"),
        (np.zeros((4, 4, 3)), "an array"),
        (np.zeros((0, 4)), "an array"),
        (np.array(["a"]), "array"),
    ],
)
def test_masks_as_arrays(tmp_path: Path, values: np.ndarray, said: str | None) -> None:
    np.save(tmp_path / "a.npy", values)
    if said is None:
        np.testing.assert_array_equal(read_mask(tmp_path / "a.npy", size=(4, 4)), np.eye(4, dtype=np.uint8))
        return
    with pytest.raises(PhotoError, match=said):
        read_mask(tmp_path / "a.npy")


def test_masks_of_16_bits(tmp_path: Path) -> None:
    labels = np.uint16([[0, 1], [255, 2]])
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), labels)
    Image.fromarray(labels + np.uint16(300)).save(tmp_path / "b.png")
    with pytest.raises(PhotoError, match="0 to 255"):
        read_mask(tmp_path / "b.png")
