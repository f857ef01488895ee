"""Photos of more than 8 bits a channel: which values are white.

16 bits are 0..65535, unless the file says less (a TIFF's number of bits or greatest value) or the user does (`bits`).
Cameras and scanners often put 12 bits into files of 16: read as 16 they would be black, so a file without a value above
4095 is refused until its bits are named.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS_TAG, PLANES_TAG, GREATEST_TAG = 258, 284, 281  # TIFF
FULL = 65535
DARK = 4096  # 16-bit values that all lie below this are taken for 12-bit ones
SWAPPED = {"B": "L", "L": "B", "N": "B"}  # the raw mode that gives the other byte of each value

Open = Callable[[], Image.Image]


class DepthError(Exception):
    """The values cannot be told; the message is the reason."""


def deep_image(image: Image.Image, again: Open, *, bits: int) -> Image.Image | None:
    """An image, not yet loaded, of 16 bits a channel with its values scaled to 8; None where it has no such.

    again: opens the same image once more. bits: of the greatest value; 0: as the file says. Raises DepthError.
    """
    if image.format == "TIFF" and _tag(image, PLANES_TAG) == 2 and _depth(image) > 8 and _raw_mode(image)[0] == "raw":
        raise DepthError("a TIFF with one plane of 16 bits for each colour is not read; save it interleaved")
    if not image.mode.startswith("I;16") and ";16" not in _raw_mode(image)[1]:
        return None
    greatest = _greatest(image)
    words = _words(image, again)
    if bits:
        white = 2**bits - 1
    elif greatest < FULL:
        white = greatest
    elif 0 < int(words.max()) < DARK:
        raise DepthError(
            f"16 bits a channel, but no value above {int(words.max())}: are these values of 12 bits? name them with "
            "--bits 12 (data.bits=12 of a run), or say --bits 16 if it is that dark"
        )
    else:
        white = FULL
    scaled = (np.minimum(words, white).astype(np.uint32) * 255 + white // 2) // white
    made = Image.fromarray(scaled.astype(np.uint8))
    made.info = {key: value for key, value in image.info.items() if key == "exif"}
    return made


def _words(image: Image.Image, again: Open) -> NDArray[np.uint16]:
    """Values uint16 (H,W) or (H,W,C); the image is loaded."""
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16)
    other = again()
    other.tile = [tile._replace(args=_swapped(tile.args)) for tile in other.tile]  # type: ignore[attr-defined]
    image.load()
    other.load()
    high, low = np.asarray(image), np.asarray(other)
    return high.astype(np.uint16) << 8 | low


def _swapped(args: object) -> object:
    if isinstance(args, str):
        return args[:-1] + SWAPPED[args[-1]]
    if isinstance(args, tuple):
        return tuple(_swapped(entry) if isinstance(entry, str) and ";16" in entry else entry for entry in args)
    return args


def _raw_mode(image: Image.Image) -> tuple[str, str]:
    """Name of the decoder and how it finds the values in the file ("RGB;16B")."""
    for codec, _, _, args in getattr(image, "tile", [])[:1]:
        words = [args] if isinstance(args, str) else [entry for entry in args or () if isinstance(entry, str)]
        return codec, next((word for word in words if ";16" in word), words[0] if words else "")
    return "", ""


def _tag(image: Image.Image, tag: int) -> object:
    return getattr(image, "tag_v2", {}).get(tag)


def _depth(image: Image.Image) -> int:
    told = _tag(image, BITS_TAG)
    depths = told if isinstance(told, tuple) else (told,)
    return max((depth for depth in depths if isinstance(depth, int)), default=8)


def _greatest(image: Image.Image) -> int:
    """The greatest value that a TIFF says it may hold."""
    read = _tag(image, GREATEST_TAG)
    told = read if isinstance(read, tuple) else (read,)
    values = [value for value in told if isinstance(value, int) and 255 < value < FULL]
    depth = _depth(image)
    return max(values) if values else 2**depth - 1 if 8 < depth < 16 else FULL
