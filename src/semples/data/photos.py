"""Decoding photos and masks as people have them.

The content of a file decides its format, not its name. Photos come out upright, 8 bits, RGB:

- EXIF (and TIFF) orientation is applied; damaged EXIF data are ignored.
- greyscale and palette become RGB; CMYK is converted without colour profiles, which are ignored everywhere.
- 16 bits a channel are scaled from 0..65535 to 0..255, fewer where the file says so; floating-point greyscale from
  0..1.
- transparent pixels are laid over white, the page such pictures are drawn for.
- of an animation or a TIFF with several pages the first counts.

JPEGs are always decoded in full (no draft mode), so the same file and library give the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from semples.core.errors import UnusableFile
from semples.data.depth import DepthError, deep_image

# Only formats whose decoders are part of Pillow; an EPS, for one, would start another program.
FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    GifImagePlugin.GifImageFile.format,
)
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif"})  # those that keep every value
MAX_MEGAPIXELS = 100.0
ORIENTATION_TAG = 274

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's decoders raise on damaged data.
_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_bomb_limit = threading.Lock()


class PhotoError(UnusableFile):
    """A photo or mask that cannot be used; the message names the file and the reason in one line."""


def read_photo(path: Path | str | bytes, *, max_megapixels: float = MAX_MEGAPIXELS, bits: int = 0) -> NDArray[np.uint8]:
    """Decode a photo, a file or its bytes, in full: (H, W, 3) uint8, RGB, upright. Raises PhotoError.

    bits: of the greatest value in files of 16 bits; 0: as the file says (`semples.data.depth`).
    """
    with _opened(path, max_megapixels) as image, contextlib.ExitStack() as others:
        orientation = 1 if image.format == "TIFF" else _orientation(image)  # Pillow turns a TIFF while loading
        try:
            deep = deep_image(image, lambda: others.enter_context(_opened(path, max_megapixels)), bits=bits)
        except DepthError as reason:
            raise PhotoError(f"{_named(path)}: {reason}") from None
        if deep is not None:
            return np.array(_as_rgb(_turned(deep, orientation)))
        image.load()
        return np.array(_as_rgb(_upright(image)))


def photo_of(
    photo: NDArray[np.uint8] | Image.Image | bytes | Path | str,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
    bits: int = 0,
) -> NDArray[np.uint8]:
    """A photo however it is given (a file, its bytes, a PIL image, an array) as (H, W, 3) uint8, RGB, upright.

    A PIL image is turned as its EXIF data say, as the file would be. bits: as `read_photo`. Raises PhotoError.
    """
    if isinstance(photo, Path | str | bytes):
        return read_photo(photo, max_megapixels=max_megapixels, bits=bits)
    if isinstance(photo, Image.Image):
        with _readable("the PIL image"):
            _check_size("the PIL image", photo, max_megapixels)
            photo.load()
            return np.array(_as_rgb(_upright(photo)))
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise PhotoError(f"a photo must be uint8 (H,W,3), RGB, not {photo.dtype} {photo.shape}")
    if photo.shape[0] * photo.shape[1] > max_megapixels * 1e6:
        raise PhotoError(_too_large("the array", (photo.shape[1], photo.shape[0]), max_megapixels))
    return photo


def probe(path: Path | str | bytes, *, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int]:
    """(width, height) of a photo once upright, from its header alone. Raises PhotoError where even that is unreadable.

    A photo that passes can still be damaged further in; `read_photo` tells.
    """
    return probe_turn(path, max_megapixels=max_megapixels)[0]


def probe_turn(path: Path | str | bytes, *, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[tuple[int, int], int]:
    """(width, height) of a photo once upright, and its EXIF orientation: 1 upright, 2..8. Raises PhotoError."""
    with _opened(path, max_megapixels) as image:
        orientation = _orientation(image)
        orientation = orientation if orientation in _TURNS else 1
        width, height = image.size
        # Pillow already reports a turned TIFF's final size.
        swapped = image.format != "TIFF" and orientation >= 5
        return ((height, width) if swapped else (width, height)), orientation


def turned(values: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(H, W) uint8 as the sensor has it, upright by its EXIF orientation."""
    return np.array(_turned(Image.fromarray(values), orientation))


def read_mask(
    path: Path | str, *, size: tuple[int, int] | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Decode a mask: (H, W) uint8, the palette index or grey value of each pixel; a black-and-white file gives 0 and 1.

    `size` is the (width, height) it must have. Raises PhotoError, also for a mask in colours (RGB).
    """
    with _opened(path, max_megapixels) as image:
        image.load()
        if image.mode not in ("P", "L", "1"):
            raise PhotoError(
                f"{path}: a mask must be a palette or 8-bit greyscale image of class values, this one is {image.mode}; "
                "save it with one value per pixel (0 background, 1 first class, 255 ignore)"
            )
        if size is not None and image.size != size:
            raise PhotoError(
                f"{path}: the mask is {image.width}x{image.height} pixels but its photo {size[0]}x{size[1]}; "
                "save both at the same size"
            )
        return np.array(image).astype(np.uint8)


def resize_photo(photo: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to (height, width, 3) with Pillow's bicubic filter, as published CAMs were made."""
    return np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))


def reduced(photo: NDArray[np.uint8], *, max_side: int) -> NDArray[np.uint8]:
    """The photo (H, W, 3) uint8, made smaller where a side is longer than `max_side` pixels."""
    height, width = photo.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return photo
    return resize_photo(photo, max(1, round(width * factor)), max(1, round(height * factor)))


@contextmanager
def _opened(path: Path | str | bytes, max_megapixels: float) -> Iterator[Image.Image]:
    """Open an image, refuse it when too large, and turn whatever its decoding raises into a PhotoError."""
    name = _named(path)
    with _readable(name), io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file:
        start = file.read(16)
        if not start:
            raise PhotoError(f"{name}: the file is empty")
        file.seek(0)
        try:
            image = _open_header(file)
        except UnidentifiedImageError:
            raise PhotoError(f"{name}: {_unknown(start)}") from None
        with image:
            _check_size(name, image, max_megapixels)
            yield image


def _named(path: Path | str | bytes) -> str:
    return "the photo" if isinstance(path, bytes) else str(path)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever opening and decoding raise into a PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise PhotoError(f"{name}: a folder, not a photo") from None
    except PermissionError:
        raise PhotoError(f"{name}: no permission to read it") from None
    except MemoryError:
        raise PhotoError(f"{name}: not enough memory to decode it; make it smaller") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise PhotoError(f"{name}: damaged or cut off ({reason}); replace the file") from None


def _check_size(name: str, image: Image.Image, max_megapixels: float) -> None:
    if image.width * image.height > max_megapixels * 1e6:
        raise PhotoError(_too_large(name, image.size, max_megapixels))


def _too_large(name: str, size: tuple[int, int], max_megapixels: float) -> str:
    return (
        f"{name}: {size[0]}x{size[1]} pixels are {size[0] * size[1] / 1e6:.4g} megapixels, more than the limit of "
        f"{max_megapixels:g}; make it smaller, or raise the limit (data.max_megapixels of a run, --max-megapixels)"
    )


def _open_header(file: object) -> Image.Image:
    """Image.open without Pillow's own size limit, which is put back at once; the caller applies ours.

    The limit is a module global of Pillow, hence the lock; only a header is read while it is off.
    """
    with _bomb_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd EXIF or TIFF entries; whatever matters raises
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=FORMATS)  # type: ignore[arg-type]
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _unknown(start: bytes) -> str:
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypheim", b"ftyphevc"):
        return "a HEIC photo; save it as JPEG"
    if start[:4] in (b"II*\0", b"MM\0*"):
        return "a TIFF of a kind that is not read (colours in floating point, for one); save it with 8 or 16 bits"
    if start[:5] == b"%PDF-":
        return "a PDF, not a photo; save its picture as PNG"
    return "not a photo in JPEG, PNG, WebP, TIFF, BMP or GIF, whatever its name says; convert it"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except _DAMAGED:
        return 1
    return value if isinstance(value, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    return _turned(image, _orientation(image))  # Pillow turns a TIFF while loading and drops the tag


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _as_grey8(image)
    if image.mode in ("LA", "La", "PA", "RGBa", "RGBA") or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _as_grey8(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError("floating-point pixels outside 0..1 have no known brightness")
        scaled = np.round(values * 255)
    else:
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit pixels outside 0..65535 have no known brightness")
        scaled = (values.astype(np.int64) * 255 + 32767) // 65535
    return Image.fromarray(scaled.astype(np.uint8))
