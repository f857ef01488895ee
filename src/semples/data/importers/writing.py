"""What an import writes: photos, tags, classes, lists, and the list of what is set aside."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from semples.core.disk import disk_trouble
from semples.core.files import write_json, write_text
from semples.core.progress import track
from semples.data.classes import ClassList
from semples.data.fetch.archives import place
from semples.data.fetch.coco import csv_text
from semples.data.importers.merging import Merged, Photo
from semples.data.names import PHOTO_FOLDERS, split_of

SET_ASIDE = "set_aside.csv"


def place_photos(photos: Sequence[Photo], photo_root: Path, out: Path) -> dict[str, str]:
    """Where each photo is below `out`; those elsewhere are linked or copied there, into images/ unless they have it."""
    source, target = photo_root.resolve(), out.resolve()
    if source.is_relative_to(target):
        below = source.relative_to(target).as_posix()
        return {photo.path: photo.path if below == "." else f"{below}/{photo.path}" for photo in photos}
    placed = {}
    for photo in track(photos, label="linking photos"):
        named = photo.path.partition("/")[0] in PHOTO_FOLDERS
        placed[photo.path] = photo.path if named else f"images/{photo.path}"
        place(photo_root / photo.path, out / placed[photo.path])
    return placed


def write_tables(
    photos: Sequence[Photo], placed: Mapping[str, str], out: Path, classes: ClassList, taken: Path | None
) -> None:
    """Write tags.csv (tags.json where a class holds a separator), classes.txt and the lists of the splits."""
    rows = [(placed[photo.path], photo.tags) for photo in photos]
    with disk_trouble(out):
        lists: dict[str, list[str]] = defaultdict(list)
        for photo, _ in rows:
            split = split_of(photo)
            if split is not None:
                lists[split].append(photo)
        for split, members in lists.items():
            write_text(out / "splits" / f"{split}.txt", "".join(f"{photo}\n" for photo in members))
        write_text(out / "classes.txt", csv_text([name] for name in classes.names))
        plain = not any(re.search(r"[;|,]|^[\[({]", name) for name in classes.names)
        if plain:
            table = csv_text([("image", "tags"), *((photo, ";".join(tags)) for photo, tags in rows)])
            write_text(out / "tags.csv", table)
        else:
            write_json(out / "tags.json", [{"image": photo, "tags": tags} for photo, tags in rows])
        if taken is not None and taken.name != ("tags.csv" if plain else "tags.json"):
            taken.unlink()


def write_set_aside(merged: Merged, out: Path) -> None:
    """Write every photo that is set aside with its reason; without any, a file of an earlier import goes."""
    rows = [(path, reason) for path, reason in sorted(merged.set_aside.items())]
    rows += [(path, "no annotation") for path in merged.unlabelled]
    with disk_trouble(out):
        if rows:
            write_text(out / SET_ASIDE, csv_text([("image", "why"), *rows]))
        else:
            (out / SET_ASIDE).unlink(missing_ok=True)
