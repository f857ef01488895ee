"""Folders as other programs lay them out: which hold photos, which masks; and which names are no classes."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from semples.data.listing import Listing, list_photos, names_masks
from semples.data.names import stem
from semples.data.suffixes import MASK_SUFFIXES

_PARTS = re.compile(
    r"(train|training|val|valid|validation|test|testing|trainval|minival|dev|eval|unlabell?ed|extra)([ _-]?\d+)?"
    r"|(train|val|valid|test)[ _-]?(images?|imgs?|photos?|set|data)|(images?|imgs?|photos?)[ _-]?(train|val|valid|test)"
    r"([ _-]?\d{4})?|(split|fold|part|batch)[ _-]?\d+",
    re.IGNORECASE,
)
_PHOTOS = re.compile(
    r"images?|imgs?|photos?|pictures?|pics?|jpegs?|jpegimages|pngimages|data|dataset|datasets|raw|all|inputs?|frames?|"
    r"samples?|uploads?|uploaded|leftimg8bit|rgb|obj_train_data|obj|files?|media|dcim|\d{3}[a-z]{5}|"
    r"(images?|img)[ _-]?(raw|all|orig(inals?)?|\d+)|originals?|new folder|untitled folder|.*visuali[sz]ations?|"
    r"thumb(nail)?s?|(19|20)\d\d[ _-]?\d\d([ _-]?\d\d)?",
    re.IGNORECASE,
)


def is_layout(folder: str) -> bool:
    """Whether a folder's name is one of a known layout (train2017, JPEGImages, trainannot), and so no class."""
    return bool(_PARTS.fullmatch(folder) or _PHOTOS.fullmatch(folder) or names_masks(folder))


def list_import(root: Path, inside: Callable[[Path], bool]) -> Listing:
    """The photos below `root` but those in the output folder; pictures in folders of masks apart.

    A folder called like masks that holds JPEGs of names of their own is taken for photos: with and without masks.
    """
    listing = list_photos(root, skip=lambda path: names_masks(posixpath.basename(path)))
    problems = tuple(problem for problem in listing.problems if not inside(root / problem.where))
    photos = [path for path in listing.photos if not inside(root / path)]
    folders: dict[str, list[str]] = defaultdict(list)
    for path in listing.masks:
        if not inside(root / path):
            folders[_mask_folder(path)].append(path)
    stems = {stem(posixpath.basename(path)).casefold() for path in photos}
    masks: list[str] = []
    for members in folders.values():
        exact = all(posixpath.splitext(path)[1].casefold() in MASK_SUFFIXES for path in members)
        shared = sum(stem(posixpath.basename(path)).casefold() in stems for path in members)
        (masks if exact or 2 * shared >= len(members) else photos).extend(members)
    return Listing(tuple(sorted(photos)), problems, tuple(sorted(masks)))


def _mask_folder(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[: next(place for place, part in enumerate(parts) if names_masks(part)) + 1])
