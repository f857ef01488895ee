from __future__ import annotations

import io
import tempfile
import threading
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from semples.data.photos import PhotoError, probe, read_mask, read_photo, resize_photo
from tests.data.builders import complaint, save

# A 2 x 3 picture with a different colour at every pixel; orientation n shows which corner is the first row and column.
CORNERS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14


def upright_by_hand(stored: np.ndarray, orientation: int) -> np.ndarray:
    """The EXIF standard's table, in NumPy."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation](stored)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "photo"
    Image.fromarray(CORNERS).save(path, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = upright_by_hand(CORNERS, orientation)
    np.testing.assert_array_equal(read_photo(path), expected)
    assert probe(path) == (expected.shape[1], expected.shape[0])


def test_orientation_of_a_jpeg(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "a.jpg"
    Image.fromarray(np.repeat(np.uint8([[[0], [255]]]), 3, axis=2).repeat(8, 0).repeat(8, 1)).save(path, exif=exif)
    photo = read_photo(path)
    assert photo.shape == (16, 8, 3)
    assert probe(path) == (8, 16)
    assert photo[:4].max() < 20 < 235 < photo[-4:].min()


def test_damaged_exif_is_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(CORNERS).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert read_photo(path).shape == (2, 3, 3)


MODES = {
    "1": (np.array([[True, False]]), [255, 0]),
    "L": (np.uint8([[200, 3]]), [200, 3]),
    "I;16": (np.uint16([[65535, 32768]]), [255, 128]),
    "I": (np.int32([[65535, 257]]), [255, 1]),
    "F": (np.float32([[1.0, 0.2]]), [255, 51]),
}


@pytest.mark.parametrize("mode", MODES)
def test_grey_modes(tmp_path: Path, mode: str) -> None:
    pixels, expected = MODES[mode]
    path = tmp_path / "a.tif"
    image = Image.fromarray(pixels)
    assert image.mode == mode
    image.save(path)
    np.testing.assert_array_equal(read_photo(path), np.uint8([[[grey] * 3 for grey in expected]]))


def test_sixteen_bit_png(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.uint16([[0, 256, 65535]])).save(path)
    np.testing.assert_array_equal(read_photo(path)[0, :, 0], [0, 1, 255])


def test_values_of_unknown_brightness_are_refused(tmp_path: Path) -> None:
    for number, pixels in enumerate([np.float32([[0, 3.5]]), np.float32([[np.nan]]), np.int32([[-1, 70000]])]):
        path = tmp_path / f"{number}.tif"
        Image.fromarray(pixels).save(path)
        with pytest.raises(PhotoError, match="no known brightness"):
            read_photo(path)


def test_palette_alpha_cmyk(tmp_path: Path) -> None:
    palette = Image.fromarray(np.uint8([[0, 1]]))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "palette.png"), [[[10, 20, 30], [40, 50, 60]]])
    palette.save(tmp_path / "hole.png", transparency=0)
    np.testing.assert_array_equal(read_photo(tmp_path / "hole.png"), [[[255, 255, 255], [40, 50, 60]]])
    Image.fromarray(np.uint8([[[0, 0, 0, 0], [9, 8, 7, 255]]])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "alpha.png"), [[[255, 255, 255], [9, 8, 7]]])
    Image.fromarray(np.uint8([[0, 9]])).save(tmp_path / "grey.png", transparency=9)
    np.testing.assert_array_equal(read_photo(tmp_path / "grey.png")[0, :, 0], [0, 255])
    Image.new("CMYK", (1, 1), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    np.testing.assert_array_equal(read_photo(tmp_path / "cmyk.tif"), [[[255, 0, 0]]])
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    assert abs(read_photo(tmp_path / "cmyk.jpg").astype(int) - [255, 0, 0]).max() < 4


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_photo(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_photo(tmp_path / "a.jpg")[0, 0, 0] > 250


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", CORNERS)
    renamed = path.rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_photo(renamed), CORNERS)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just text, no picture at all", "not a photo"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a photo"),
        (b"%PDF-1.7 and more", "PDF"),
        (b"\0\0\0\x18ftypheic and more", "HEIC"),
        *((encoded(kind)[: len(encoded(kind)) // 2], "damaged or cut off") for kind in ("JPEG", "PNG", "TIFF", "BMP")),
    ],
)
def test_unreadable_files_are_named_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=reason) as caught:
        read_photo(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(PhotoError, match="a folder"):
        probe(tmp_path)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF"]), data=st.data())
def test_damage_never_escapes_as_anything_but_a_photo_error(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "a.jpg"
        path.write_bytes(content)
        for read in (read_photo, probe, read_mask):
            assert "\n" not in complaint(partial(read, path, max_megapixels=1))


def test_size_limit_is_ours_and_pillows_own_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", np.zeros((30, 40, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow alone would refuse 1,200 pixels
    assert read_photo(path).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(PhotoError, match=r"40x30 pixels are 0.0012 megapixels"):
        read_photo(path, max_megapixels=0.001)
    with pytest.raises(PhotoError, match="megapixels"):
        probe(path, max_megapixels=0.001)
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_huge_photo(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (12000, 9000), 1).save(path)
    with pytest.raises(PhotoError, match="108 megapixels, more than the limit of 100"):
        read_photo(path)
    assert probe(path, max_megapixels=120) == (12000, 9000)


def test_threads_read_the_same(tmp_path: Path) -> None:
    photos = [np.random.default_rng(n).integers(0, 256, (20, 20, 3), np.uint8) for n in range(20)]
    paths = [save(tmp_path / f"{n}.png", photo) for n, photo in enumerate(photos)]
    limit = Image.MAX_IMAGE_PIXELS
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(n for n, path in enumerate(paths) if not np.array_equal(read_photo(path), photos[n]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert limit == Image.MAX_IMAGE_PIXELS


def test_masks(tmp_path: Path) -> None:
    labels = np.uint8([[0, 1, 255], [7, 7, 0]])
    palette = Image.fromarray(labels)
    palette.putpalette(list(range(256)) * 3)
    assert palette.mode == "P"
    palette.save(tmp_path / "p.png")
    Image.fromarray(labels).save(tmp_path / "l.png")
    for name in ("p.png", "l.png"):
        mask = read_mask(tmp_path / name, size=(3, 2))
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, labels)
    Image.fromarray(labels > 0).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), labels > 0)
    with pytest.raises(PhotoError, match="the mask is 3x2 pixels but its photo 2x3"):
        read_mask(tmp_path / "l.png", size=(2, 3))
    palette.convert("RGB").save(tmp_path / "rgb.png")
    with pytest.raises(PhotoError, match="palette or 8-bit greyscale"):
        read_mask(tmp_path / "rgb.png")


def test_resize_is_pillows_bicubic() -> None:
    photo = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
    resized = resize_photo(photo, 36, 24)
    assert resized.shape == (24, 36, 3)
    np.testing.assert_array_equal(resized, np.array(Image.fromarray(photo).resize((36, 24), Image.BICUBIC)))


def test_photos_are_writable_and_repeatable(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG"))
    first = read_photo(path)
    assert first.flags.writeable
    np.testing.assert_array_equal(first, read_photo(path))
