"""Decoding photos and masks as people have them.

The content of a file decides its format, not its name. Photos come out upright, 8 bits, RGB:

- EXIF (and TIFF) orientation is applied; damaged EXIF data are ignored.
- greyscale and palette become RGB; CMYK is converted without colour profiles, which are ignored everywhere.
- 16 bits a channel are scaled from 0..65535 to 0..255, fewer where the file says so; floating-point greyscale from
  0..1, 0..255 or 0..65535, whichever its brightest pixel comes near to (a twentieth at least).
- transparent pixels are laid over white, the page such pictures are drawn for.
- of an animation or a TIFF with several pages the first counts.

JPEGs are always decoded in full (no draft mode), so the same file and library give the same bytes. HEIC needs the extra
`heif` (pillow-heif). Masks are PNG, TIFF, BMP or GIF, or arrays (`.npy`).
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semples.core.errors import UnusableFile, UserError
from semples.core.files import SpecialFile, open_regular
from semples.core.safeload import load_npy
from semples.data.depth import DepthError, deep_image
from semples.data.pictures import DAMAGED, describe, open_header, stripped_png, to_rgb

MAX_MEGAPIXELS = 100.0
ORIENTATION_TAG = 274
PNG_MARK = b"\x89PNG\r\n\x1a\n"

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
            return _rgb(path, _turned(deep, orientation))
        image.load()
        return _rgb(path, _upright(image))


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
            return _rgb("the PIL image", _upright(photo))
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
    with _opened(path, max_megapixels, header=True) as image:
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


def reduced(photo: NDArray[np.uint8], *, max_side: int) -> NDArray[np.uint8]:
    """The photo (H, W, 3) uint8, made smaller where a side is longer than `max_side` pixels."""
    height, width = photo.shape[:2]
    smaller = reduced_size(width, height, max_side=max_side)
    return photo if smaller == (width, height) else resize_photo(photo, *smaller)


def reduced_size(width: int, height: int, *, max_side: int) -> tuple[int, int]:
    """(width, height) of a photo that is made smaller where a side is longer than `max_side` pixels."""
    factor = max_side / max(height, width)
    if factor >= 1:
        return width, height
    return max(1, round(width * factor)), max(1, round(height * factor))


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
def _opened(path: Path | str | bytes, max_megapixels: float, *, header: bool = False) -> Iterator[Image.Image]:
    """Open an image, refuse it when too large, and turn whatever its decoding raises into a PhotoError.

    `header`: only its size and orientation are asked for.
    """
    name = _named(path)
    with _readable(name), _file(path) as file:
        start = file.read(64)
        if not start:
            raise PhotoError(f"{name}: the file is empty")
        file.seek(0)
        source = stripped_png(file, header=header) if start.startswith(PNG_MARK) else file
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = open_header(source)
            except UnidentifiedImageError:
                file.seek(0)
                raise PhotoError(f"{name}: {describe(file)}") from None
            with image:
                _check_size(name, image, max_megapixels)
                yield image


def _file(path: Path | str | bytes) -> IO[bytes]:
    if isinstance(path, bytes):
        return io.BytesIO(path)
    if os.path.isdir(path):
        raise PhotoError(f"{path}: a folder, not a photo")
    return open_regular(path)


def _named(path: Path | str | bytes) -> str:
    return "the photo" if isinstance(path, bytes) else str(path)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever opening and decoding raise into a PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except SpecialFile as error:
        raise PhotoError(str(error)) from None
    except FileNotFoundError:
        raise PhotoError(f"{name}: no such file") from None
    except PermissionError:
        raise PhotoError(f"{name}: no permission to read it") from None
    except MemoryError:
        raise PhotoError(f"{name}: not enough memory to decode it; make it smaller") from None
    except DAMAGED as error:
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


def _orientation(image: Image.Image) -> int:
    try:
        value = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)  # a PNG's own would decode it
    except DAMAGED:
        return 1
    return value if isinstance(value, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    return _turned(image, _orientation(image))  # Pillow turns a TIFF while loading and drops the tag


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _rgb(path: Path | str | bytes, image: Image.Image) -> NDArray[np.uint8]:
    try:
        return np.array(to_rgb(image))
    except ValueError as error:
        raise PhotoError(f"{_named(path)}: {error}; save it as 8-bit RGB") from None
