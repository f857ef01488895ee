"""What Pillow is told to open, what is kept from it, and its modes as RGB.

PNGs lose their texts and colour profiles on the way: neither changes a pixel here, but Pillow takes a long text or an
odd profile for damage.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from semples.core.errors import UserError
from semples.core.files import open_regular

# What Pillow's decoders raise on damaged data.
DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, ArithmeticError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
MAX_EXIF_TEXT = 1_000_000
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_EXIF_TEXTS = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")  # hold an orientation

_bomb_limit = threading.Lock()


@cache
def formats() -> tuple[str, ...]:
    """Formats whose decoders are part of Pillow (an EPS, for one, would start another program), and HEIC's if there."""
    chosen = [
        JpegImagePlugin.JpegImageFile.format,
        PngImagePlugin.PngImageFile.format,
        WebPImagePlugin.WebPImageFile.format,
        TiffImagePlugin.TiffImageFile.format,
        BmpImagePlugin.BmpImageFile.format,
        GifImagePlugin.GifImageFile.format,
        PpmImagePlugin.PpmImageFile.format,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of features that it was built before
        if features.check("avif"):
            chosen.append("AVIF")
    if reads_heic():
        chosen.append("HEIF")
    return tuple(chosen)


@cache
def reads_heic() -> bool:
    """Whether the extra `heif` is installed; if so Pillow is told of it."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def open_header(file: IO[bytes]) -> Image.Image:
    """Image.open without Pillow's own size limit, which is put back at once; the caller applies ours.

    The limit is a module global of Pillow, hence the lock; only a header is read while it is off.
    """
    with _bomb_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd EXIF or TIFF entries; whatever matters raises
        known = formats()
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=known)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def is_whole(path: Path) -> bool:
    """Whether a PNG or JPEG is there from its first byte to its last: the checksums of a PNG, the ends of a JPEG."""
    try:
        with open_regular(path) as file:
            if path.suffix == ".jpg":
                start = file.read(2)
                file.seek(-2, io.SEEK_END)
                return (start, file.read(2)) == (b"\xff\xd8", b"\xff\xd9")
            with open_header(file) as image:
                image.verify()
    except (*DAMAGED, UserError):
        return False
    return True


def stripped_png(file: IO[bytes], *, header: bool) -> io.BytesIO:
    """A PNG without texts and colour profile; `header`: without its pixels too, and what follows them moved before.

    Texts that may hold an orientation are kept. What does not look like a chunk is left as it is: Pillow tells.
    """
    kept = io.BytesIO()
    kept.write(file.read(8))
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IDAT" and header:
            file.seek(length + 4, io.SEEK_CUR)
            continue
        if kind == b"iCCP" or kind in _TEXTS:
            body = file.read(length + 4)
            if kind != b"iCCP" and _keeps_exif(kind, body[:-4]):
                kept.write(start + body)
            continue
        kept.write(start)
        left = length + 4
        while left and (piece := file.read(min(left, 1 << 20))):
            kept.write(piece)
            left -= len(piece)
    kept.write(struct.pack(">I4s", 0, b"IDAT") if header else start)
    kept.seek(0)
    return kept


def _keeps_exif(kind: bytes, body: bytes) -> bool:
    if not body.startswith(_EXIF_TEXTS) or len(body) > MAX_EXIF_TEXT:
        return False
    if kind == b"zTXt":
        try:
            unpacker = zlib.decompressobj()
            unpacker.decompress(body.partition(b"\0")[2][1:], MAX_EXIF_TEXT)
        except zlib.error:
            return False
        return unpacker.eof
    return kind == b"tEXt" or body.partition(b"\0")[2][:1] == b"\0"  # iTXt: not packed


# ---------------------------------------------------------------------------------------------------------- pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB. Raises ValueError with the reason where its values have no known brightness."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _as_grey8(image)
    if image.mode in ("LA", "La", "PA", "RGBa", "RGBA") or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    try:
        return image.convert("RGB")
    except (ValueError, OSError, KeyError):
        raise ValueError(f"pixels of the mode {image.mode} are not read") from None


def _as_grey8(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(_floats(values))
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"32-bit whole numbers from {values.min()} to {values.max()} have no known brightness (0 to 65535 has)"
        )
    return Image.fromarray(((values.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))


def _floats(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise ValueError("floating-point pixels that are no numbers (NaN or infinite) have no known brightness")
    low, high = float(values.min()), float(values.max())
    white = next((white for white in (1.0, 255.0, 65535.0) if white / 20 < high <= white), 1.0 if high <= 1 else None)
    if low < 0 or white is None:
        raise ValueError(
            f"floating-point pixels from {low:g} to {high:g} have no known brightness (0 to 1, 255 or 65535 have)"
        )
    return np.round(values.astype(np.float64) * (255 / white)).astype(np.uint8)


# ------------------------------------------------------------------------------------------------ what else it may be


def describe(file: IO[bytes]) -> str:
    """What a file is that Pillow does not open, as far as its first bytes tell, and what to do."""
    start = file.read(1 << 16)
    size = file.seek(0, io.SEEK_END)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS:
        if reads_heic():
            return "a HEIC photo that libheif does not read, maybe damaged; save it as JPEG"
        return "a HEIC photo, which needs pillow-heif: pip install 'semples[heif]', or save it as JPEG"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return "an AVIF photo that this Pillow does not read; update Pillow (11.3 or newer), or save it as JPEG"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return f"{_tiff_kind(start, size)}; save it as an 8-bit PNG or JPEG"
    if start.startswith(b"\xff\xd8\xff"):
        return f"{_jpeg_kind(start)}; save it as an 8-bit JPEG"
    for mark, what in _OTHERS.items():
        if start.startswith(mark):
            return f"{what}; save it as JPEG or PNG"
    return "not a photo in JPEG, PNG, WebP, TIFF, BMP or GIF, whatever its name says; convert it"


_OTHERS = {
    b"%PDF-": "a PDF, not a photo",
    b"8BPS": "a Photoshop file, not a photo",
    b"\0\0\0\x0cJXL ": "a JPEG XL photo, which is not read",
    b"\xff\x0a": "a JPEG XL photo, which is not read",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 photo, which is not read",
    b"<svg": "a drawing (SVG), not a photo",
    b"<!DOCTYPE": "a web page, not a photo (maybe a download that failed)",
    b"<html": "a web page, not a photo (maybe a download that failed)",
    b"version https://git-lfs": "a pointer of Git LFS, not the photo itself (git lfs pull fetches it)",
}
_COMPRESSIONS = {1: "none", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate", 32773: "PackBits", 50000: "Zstandard"}
_SAMPLES = {1: "whole numbers", 2: "signed whole numbers", 3: "floating-point numbers"}


def _tiff_kind(start: bytes, size: int) -> str:
    """What a TIFF's first page holds, out of its own table."""
    order = "<" if start[:2] == b"II" else ">"
    if start[2:4] in (b"+\0", b"\0+"):
        return "a BigTIFF of a kind that is not read"
    values: dict[int, int] = {}
    try:
        offset = struct.unpack(order + "I", start[4:8])[0]
        count = struct.unpack_from(order + "H", start, offset)[0]
        for entry in range(min(count, 200)):
            place = offset + 2 + 12 * entry
            tag, kind, number = struct.unpack_from(order + "HHI", start, place)
            width = {1: "B", 3: "H", 4: "I"}.get(kind)
            if width is not None:
                spot = place + 8
                if struct.calcsize(width) * number > 4:
                    spot = struct.unpack_from(order + "I", start, place + 8)[0]
                values[tag] = struct.unpack_from(order + width, start, spot)[0]
    except struct.error:
        if not values:
            return f"a TIFF ({size} bytes) whose table of contents is not where it says, maybe cut off"
    bits, channels = values.get(258, 1), values.get(277, 1)
    packed = _COMPRESSIONS.get(values.get(259, 1), f"number {values.get(259)}")
    numbers = _SAMPLES.get(values.get(339, 1), "numbers of another kind")
    return f"a TIFF of {channels} channels of {bits}-bit {numbers} (compression: {packed}), which is not read"


def _jpeg_kind(start: bytes) -> str:
    place = 2
    while place + 9 < len(start) and start[place] == 0xFF:
        marker, length = start[place + 1], struct.unpack_from(">H", start, place + 2)[0]
        if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
            return "a JPEG of a rare process (lossless or arithmetic), which is not read"
        if 0xC0 <= marker <= 0xC2:
            return f"a JPEG of {start[place + 4]} bits a channel and {start[place + 9]} channels, which is not read"
        place += 2 + length
    return "a JPEG whose header is damaged or cut off"
