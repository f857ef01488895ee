"""Decoding photos and masks as people have them.

The content of a file decides its format, not its name. Photos come out upright, 8 bits, RGB:

- EXIF (and TIFF) orientation is applied; damaged EXIF data are ignored.
- greyscale and palette become RGB; CMYK is converted without colour profiles, which are ignored everywhere.
- 16 bits a channel are scaled from 0..65535 to 0..255; floating-point greyscale from 0..1.
- transparent pixels are laid over white, the page such pictures are drawn for.
- of an animation or a TIFF with several pages the first counts.

JPEGs are always decoded in full (no draft mode), so the same file and library give the same bytes.
"""

from __future__ import annotations

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
from semples.core.files import SpecialFile, open_regular

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


def read_photo(path: Path | str, *, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Decode a photo in full: (H, W, 3) uint8, RGB, upright. Raises PhotoError."""
    with _opened(path, max_megapixels) as image:
        image.load()
        return np.array(_as_rgb(_upright(image)))


def probe(path: Path | str, *, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int]:
    """(width, height) of a photo once upright, from its header alone. Raises PhotoError where even that is unreadable.

    A photo that passes can still be damaged further in; `read_photo` tells.
    """
    with _opened(path, max_megapixels) as image:
        width, height = image.size
        # Pillow already reports a turned TIFF's final size.
        turned = image.format != "TIFF" and _orientation(image) >= 5
        return (height, width) if turned else (width, height)


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


@contextmanager
def _opened(path: Path | str, max_megapixels: float) -> Iterator[Image.Image]:
    """Open an image, refuse it when too large, and turn whatever its decoding raises into a PhotoError."""
    try:
        with open_regular(path) as file:
            start = file.read(16)
            if not start:
                raise PhotoError(f"{path}: the file is empty")
            file.seek(0)
            with _open_header(file) as image:
                megapixels = image.width * image.height / 1e6
                if megapixels > max_megapixels:
                    raise PhotoError(
                        f"{path}: {image.width}x{image.height} pixels are {megapixels:.4g} megapixels, more than the "
                        f"limit of {max_megapixels:g}; make it smaller, or raise data.max_megapixels"
                    )
                yield image
    except PhotoError:
        raise
    except SpecialFile as error:
        raise PhotoError(str(error)) from None
    except FileNotFoundError:
        raise PhotoError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise PhotoError(f"{path}: a folder, not a photo") from None
    except PermissionError:
        raise PhotoError(f"{path}: no permission to read it") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path}: {_unknown(start)}") from None
    except MemoryError:
        raise PhotoError(f"{path}: not enough memory to decode it; make it smaller") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise PhotoError(f"{path}: damaged or cut off ({reason}); replace the file") from None


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
    turn = _TURNS.get(_orientation(image))  # Pillow turns a TIFF while loading and drops the tag
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _as_grey8(image)
    if image.mode in ("LA", "La", "PA", "RGBa", "RGBA") or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


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
