"""What lies in a folder of photos: photos, and by name whatever looks like one and is none.

Only regular files count, also behind links: a pipe, a device or a link to nowhere is named and never opened.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from semples.core.places import without_number
from semples.core.plain import is_utf8, plain
from semples.data.problem import Problem
from semples.data.suffixes import MASK_SUFFIXES, PHOTO_SUFFIXES
from semples.data.text import nfc

# Pictures of kinds that are not decoded here, each with what to do.
UNREAD = {
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "a camera's raw file"),
    ".svg": "a drawing", ".psd": "a Photoshop file", ".jxl": "JPEG XL", ".jp2": "JPEG 2000", ".j2k": "JPEG 2000",
    ".tga": "a Targa file", ".dcm": "DICOM", ".exr": "OpenEXR", ".hdr": "Radiance HDR", ".ico": "an icon",
}  # fmt: skip

_MASKS = re.compile(
    r"((train|val|valid|validation|test|trainval)[ _-]?)?"
    r"(masks?|annots?|annotations?|labels?|labelids?|seg(mentation)?s?|seg(mentation)?[ _-]?(masks?|maps?|labels?)|"
    r"ground[ _-]?truths?|gts?|gtfine|gtcoarse|label[ _-]?(maps?|images?)|mask[ _-]?(images?|pngs?))"
    r"([ _-]?(png|color|colou?red|raw|ids?))?([ _-]?\d{4})?",
    re.IGNORECASE,
)
_VOC_MASKS = re.compile(r"Segmentation(Class|Object)|panoptic[ _-]|stuffthingmaps", re.IGNORECASE)
_SYSTEM = frozenset({"@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db"})
MASK_FOLDERS = ("masks", "SegmentationClassAug", "SegmentationClass")
CONFIDENCE = "confidence"  # folder below label maps that tells how sure they are: no masks


@dataclass(frozen=True)
class Listing:
    """Photos below a folder (posix paths, sorted), and what is set aside; `masks`: pictures in folders of masks."""

    photos: tuple[str, ...]
    problems: tuple[Problem, ...]
    masks: tuple[str, ...] = ()


def list_photos(root: Path, *, skip: Callable[[str], bool] | None = None) -> Listing:
    """The photos below `root`, hidden ones left out; `skip(path of a folder below root)` tells folders of masks.

    `skip` None: `masks`, `SegmentationClass*` and `SegmentationObject*` directly in `root`.
    """
    chosen = skip or _is_masks_folder
    photos: list[str] = []
    masks: list[str] = []
    problems: list[Problem] = []
    for path, regular, masked in _walk(root, chosen):
        suffix = posixpath.splitext(path)[1].casefold()
        if suffix not in PHOTO_SUFFIXES:
            if suffix in UNREAD and not masked:
                problems.append(Problem(path, f"{UNREAD[suffix]}, which is not read; save it as JPEG or PNG"))
        elif not is_utf8(path):
            problems.append(not_utf8(path))
        elif not regular:
            problems.append(Problem(path, "set aside: not a regular file (a link to nowhere, a pipe or a device)"))
        else:
            (masks if masked else photos).append(path)
    return Listing(tuple(sorted(photos)), tuple(sorted(problems, key=lambda one: one.where)), tuple(sorted(masks)))


def find_files(root: Path, *, refused: list[Problem] | None = None) -> list[str]:
    """Paths below `root`, posix style and sorted, of files that look like photos; hidden ones and masks left out.

    What is set aside is added to `refused`.
    """
    listing = list_photos(root)
    if refused is not None:
        refused += listing.problems
    return list(listing.photos)


def not_utf8(path: str) -> Problem:
    """What to say of a photo whose name no file of this program could hold."""
    return Problem(plain(path), "set aside: its name is not UTF-8; rename it (for example with convmv)")


def files_below(root: Path, suffixes: frozenset[str]) -> list[str]:
    """Regular files below `root` with one of `suffixes` (in small letters), sorted; hidden ones left out."""
    paths = (path for path, regular, _ in _walk(root, lambda _: False) if regular and is_utf8(path))
    return sorted(path for path in paths if posixpath.splitext(path)[1].casefold() in suffixes)


def mask_files(folder: Path) -> dict[str, str]:
    """Files of masks below a folder of masks, by the paths that they have as if it were not numbered (`core.places`):
    the label maps of a run may lie there as they are. Of two with one path, the one in a numbered folder counts."""
    paths = reversed(files_below(folder, MASK_SUFFIXES))
    named = ((nfc(without_number(folder, path) or path), path) for path in paths)
    return dict(sorted(dict(named).items()))


def names_masks(folder: str) -> bool:
    """Whether a folder of this name holds masks by the habits of other programs: trainannot, gtFine, masks_png."""
    return bool(_MASKS.fullmatch(folder) or _VOC_MASKS.match(folder))


def _is_masks_folder(path: str) -> bool:
    return "/" not in path and (path == "masks" or path.startswith(("SegmentationClass", "SegmentationObject")))


def stamp(root: Path) -> str:
    """SHA-256 of the paths, sizes and times of change of all files below `root`, hidden ones left out: while it stays,
    so does whatever could be read there. Opens no file."""
    digest = hashlib.sha256()
    for path, entry, _ in _entries(root, lambda _: False):
        try:
            status = entry.stat()
            told = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            told = "nothing"
        digest.update(f"{path}\n{told}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _walk(root: Path, skip: Callable[[str], bool]) -> Iterator[tuple[str, bool, bool]]:
    """Files below `root`: path, whether regular, whether in a folder that `skip` names."""
    for path, entry, masked in _entries(root, skip):
        yield path, _is_file(entry), masked


def _entries(root: Path, skip: Callable[[str], bool]) -> Iterator[tuple[str, os.DirEntry[str], bool]]:
    """All but folders below `root`: path, entry, whether in a folder that `skip` names. Links are followed, once."""
    seen: set[str] = set()
    stack = [("", False)]
    while stack:
        below, masked = stack.pop()
        real = os.path.realpath(root / below)
        if real in seen:  # a link back into a folder already visited
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(root / below), key=lambda entry: entry.name)
        except OSError:
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SYSTEM:
                continue
            path = f"{below}/{entry.name}" if below else entry.name
            if _is_dir(entry):
                folders.append((path, masked or skip(path)))
            else:
                yield path, entry, masked
        stack += reversed(folders)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def other_files(root: Path) -> list[Path]:
    """Regular files below `root` that are not called like photos, sorted; hidden ones left out."""
    paths = (path for path, regular, _ in _walk(root, lambda _: False) if regular and is_utf8(path))
    return [root / path for path in sorted(paths) if posixpath.splitext(path)[1].casefold() not in PHOTO_SUFFIXES]
