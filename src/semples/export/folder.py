"""The folder an export goes to, photos in it, and archives that are equal byte by byte."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from PIL import Image

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import UMASK, atomic_path, open_regular, write_bytes
from semples.core.systems import replace
from semples.core.temporary import temporary_folder
from semples.data.dataset import Item, TaggedDataset
from semples.data.photos import ORIENTATION_TAG
from semples.export.base import Photos

# Formats that every program reads, and the extensions it knows them by.
COMMON = {
    "JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",), "TIFF": (".tif", ".tiff"),
}  # fmt: skip
_Bomb = Image.DecompressionBombError
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that becomes `out` on success and is removed on failure.

    Raises UserError where `out` holds something, or nothing can be written there.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        taken = os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}; choose another --out") from None
    if taken:
        raise UserError(f"{out}: there is something already; choose another --out or delete it")
    with temporary_folder(out) as folder, disk_trouble(out):
        yield folder
        folder.chmod(0o777 & ~UMASK)
        if out.is_dir():
            out.rmdir()
        replace(folder, out)


def place_photo(
    dataset: TaggedDataset, item: Item, stem: Path, how: Photos, *, formats: Collection[str] = COMMON
) -> Path:
    """Put a photo at `stem` and an extension; where it lies then.

    An upright photo in one of `formats` stays as it is: copied, or hard-linked where `how` is "link" and the disk
    allows it. Any other is written upright as JPEG of quality 95, since many programs ignore the turn in its EXIF data.
    """
    if not _is_plain(item.photo, formats):
        target = stem.with_name(f"{stem.name}.jpg")
        buffer = io.BytesIO()
        Image.fromarray(dataset.photo(item)).save(buffer, format="JPEG", quality=95)
        write_bytes(target, buffer.getvalue())
        return target
    target = stem.with_name(f"{stem.name}{item.photo.suffix.lower()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        try:
            os.link(item.photo.resolve(), target)
            return target
        except OSError:  # another disk, or one without hard links: a copy serves as well
            pass
    with atomic_path(target) as temporary, open_regular(item.photo) as source, open(temporary, "wb") as copy:
        shutil.copyfileobj(source, copy)
    return target


def _is_plain(path: Path, formats: Collection[str]) -> bool:
    """Whether a photo is upright, and of one of `formats`, which its extension tells."""
    try:
        with open_regular(path) as file, Image.open(file) as image:
            fitting = image.format in formats and path.suffix.casefold() in COMMON.get(image.format or "", ())
            return fitting and image.getexif().get(ORIENTATION_TAG, 1) == 1
    except (UserError, OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error, _Bomb):
        return False  # damaged EXIF data; whether the photo itself is readable, its decoding tells


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a zip archive, members in the order of their names; equal members give equal bytes."""
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name in sorted(members):
                info = zipfile.ZipInfo(PurePosixPath(name).as_posix(), date_time=EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.create_system = 3  # the same on every system
                info.external_attr = 0o644 << 16
                archive.writestr(info, members[name])
