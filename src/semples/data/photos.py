"""Decoding photos and masks as people have them.

The content of a file decides its format, not its name. Photos come out upright, 8 bits, RGB:

- EXIF (and TIFF) orientation is applied; damaged EXIF data are ignored.
- greyscale and palette become RGB; CMYK is converted without colour profiles, which are ignored everywhere.
- 16 bits a channel are scaled from 0..65535 to 0..255; floating-point greyscale from 0..1, 0..255 or 0..65535,
  whichever its brightest pixel comes near to (a twentieth at least).
- transparent pixels are laid over white, the page such pictures are drawn for.
- of an animation or a TIFF with several pages the first counts.

JPEGs are always decoded in full (no draft mode), so the same file and library give the same bytes. HEIC needs the extra
`heif` (pillow-heif). Masks are PNG, TIFF, BMP or GIF, or arrays (`.npy`).
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semples.core.errors import UnusableFile, UserError
from semples.core.safeload import load_npy
from semples.data.pictures import DAMAGED, describe, open_header, stripped_png, to_rgb

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif",
     ".hif", ".ppm", ".pgm"}
)  # fmt: skip
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".npy"})  # those that keep every value
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


class PhotoError(UnusableFile):
    """A photo or mask that cannot be used; the message names the file and the reason in one line."""


def read_photo(path: Path | str, *, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Decode a photo in full: (H, W, 3) uint8, RGB, upright. Raises PhotoError."""
    with _opened(path, max_megapixels) as image:
        image.load()
        upright = _upright(image)
        try:
            return np.array(to_rgb(upright))
        except ValueError as error:
            raise PhotoError(f"{path}: {error}; save it as 8-bit RGB") from None


def probe(path: Path | str, *, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int]:
    """(width, height) of a photo once upright, from its header alone. Raises PhotoError where even that is unreadable.

    A photo that passes can still be damaged further in; `read_photo` tells.
    """
    with _opened(path, max_megapixels, header=True) as image:
        width, height = image.size
        # Pillow already reports a turned TIFF's final size.
        turned = image.format != "TIFF" and _orientation(image) >= 5
        return (height, width) if turned else (width, height)


def read_mask(
    path: Path | str, *, size: tuple[int, int] | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Decode a mask: (H, W) uint8, the palette index or grey value of each pixel; a black-and-white file gives 0 and 1.

    16- and 32-bit greyscale and arrays (`.npy`) are read where every value is a whole number of 0..255. `size` is the
    (width, height) it must have. Raises PhotoError, also for a mask in colours (RGB).
    """
    if str(path).casefold().endswith(".npy"):
        labels = _array_mask(path, max_megapixels)
    else:
        with _opened(path, max_megapixels) as image:
            image.load()
            if image.mode not in ("P", "L", "1", "I") and not image.mode.startswith("I;16"):
                raise PhotoError(
                    f"{path}: a mask must be a palette or 8-bit greyscale image of class values, this one is "
                    f"{image.mode}; save it with one value per pixel (0 background, 1 first class, 255 ignore)"
                )
            labels = _bytes(path, np.array(image))
    height, width = labels.shape
    if size is not None and (width, height) != size:
        raise PhotoError(
            f"{path}: the mask is {width}x{height} pixels but its photo {size[0]}x{size[1]}; save both at the same size"
        )
    return labels


def read_colours(path: Path | str, *, max_megapixels: float = MAX_MEGAPIXELS) -> NDArray[np.uint8]:
    """Decode a mask in colours: (H, W, 3) uint8 as it is, neither turned nor laid over white. Raises PhotoError."""
    with _opened(path, max_megapixels) as image:
        return np.array(image.convert("RGB"))


def resize_photo(photo: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to (height, width, 3) with Pillow's bicubic filter, as published CAMs were made."""
    return np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))


def _bytes(path: Path | str, values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values as bytes. Raises PhotoError where one does not fit."""
    numbers: NDArray[np.float64] = values.astype(np.float64)
    if numbers.size and not ((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))).all():
        raise PhotoError(f"{path}: a mask's values must be whole numbers of 0 to 255 (0 background, 255 ignore)")
    return values.astype(np.uint8)


def _array_mask(path: Path | str, max_megapixels: float) -> NDArray[np.uint8]:
    try:
        array = load_npy(path)
    except UserError as error:
        raise PhotoError(str(error)) from None
    if isinstance(array, np.ndarray) and array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array.squeeze(0 if array.shape[0] == 1 else 2)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise PhotoError(f"{path}: a mask must be an array (height, width) of class values; save it as PNG")
    if array.size / 1e6 > max_megapixels:
        raise PhotoError(f"{path}: more than the limit of {max_megapixels:g} megapixels")
    return _bytes(path, array)


@contextmanager
def _opened(path: Path | str, max_megapixels: float, *, header: bool = False) -> Iterator[Image.Image]:
    """Open an image, refuse it when too large, and turn whatever its decoding raises into a PhotoError.

    `header`: only its size and orientation are asked for.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a folder, not a photo" if os.path.isdir(path) else "not a regular file, but a pipe or a device"
            raise PhotoError(f"{path}: {kind}")
        with open(path, "rb") as file:
            start = file.read(64)
            if not start:
                raise PhotoError(f"{path}: the file is empty")
            file.seek(0)
            source = stripped_png(file, header=header) if start.startswith(b"\x89PNG\r\n\x1a\n") else file
            with warnings.catch_warnings(), open_header(source) as image:
                warnings.simplefilter("ignore")
                megapixels = image.width * image.height / 1e6
                if megapixels > max_megapixels:
                    raise PhotoError(
                        f"{path}: {image.width}x{image.height} pixels are {megapixels:.4g} megapixels, more than the "
                        f"limit of {max_megapixels:g}; make it smaller, or raise data.max_megapixels"
                    )
                yield image
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"{path}: no such file") from None
    except PermissionError:
        raise PhotoError(f"{path}: no permission to read it") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path}: {describe(path)}") from None
    except MemoryError:
        raise PhotoError(f"{path}: not enough memory to decode it; make it smaller") from None
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise PhotoError(f"{path}: damaged or cut off ({reason}); replace the file") from None


def _orientation(image: Image.Image) -> int:
    try:
        value = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)  # a PNG's own would decode it
    except DAMAGED:
        return 1
    return value if isinstance(value, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))  # Pillow turns a TIFF while loading and drops the tag
    return image if turn is None else image.transpose(turn)
