"""Photos and label maps in any two folders, paired by name: what a segmenter can be trained on without a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import sha256_file
from semples.core.places import place_of
from semples.data.dataset import ClassList, FileDataset, Item, class_list
from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.text import nfc
from semples.data.verify import verify_photos

CLASSES = "classes.txt"


@dataclass(frozen=True)
class Folders:
    """Two folders, and a class list where it lies in neither of them."""

    photos: Path
    labels: Path
    classes: Path | None = None

    @cached_property
    def dataset(self) -> FileDataset:
        """The photos that have a label map, listed once."""
        return paired_dataset(self.photos, self.labels, self.classes)

    def digest(self) -> str:
        """What identifies classes, photos and label maps, by their content."""
        files = [
            [item.id, sha256_file(item.photo), *map(sha256_file, _label_files(self.labels, item))]
            for item in self.dataset.items
        ]
        return hashlib.sha256(json.dumps([self.dataset.classes.names, files]).encode()).hexdigest()

    @property
    def unlabelled(self) -> int:
        """How many photos have no label map."""
        return _unlabelled(self.dataset, self.labels)


def readable(dataset: FileDataset, *, workers: int) -> FileDataset:
    """The dataset without photos that cannot be decoded, which become its problems. Raises UserError if none is left.

    A run's photos have been through this in its step `data`.
    """
    verified = verify_photos(dataset, workers=max(1, workers))
    if not verified.kept:
        raise UserError(f"{dataset.root}: no photo can be read; the first: {verified.problems[0].what}")
    return replace(dataset, items=verified.kept, problems=verified.problems)


def paired_dataset(photos: Path, labels: Path, classes: Path | None) -> FileDataset:
    """The photos below `photos` that have a label map of the same name (but for the suffix) below `labels`.

    The class list is the file given, or classes.txt in either folder. Raises UserError.
    """
    for folder in (photos, labels):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    names = [classes] if classes is not None else [folder / CLASSES for folder in (labels, photos)]
    list_file = next((path for path in names if path.is_file()), None)
    if list_file is None:
        raise UserError(f"{names[0]}: no such class list; name one with --classes (a class name on each line)")
    items = []
    for path in photo_files(photos):
        name = nfc(path.relative_to(photos).with_suffix("").as_posix())
        if place_of(labels, name, ".png").is_file() and place_of(labels, name, ".png") != path:
            items.append(Item(name, path, ()))
    if not items:
        raise UserError(f"{labels}: no label map NAME.png for any photo NAME below {photos}")
    listed: ClassList = class_list(list_file)
    return FileDataset(photos.resolve().name, photos, listed, tuple(items), ())


def photo_files(folder: Path) -> Iterator[Path]:
    """Files below `folder` whose names are those of photos, in order."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.casefold() in PHOTO_SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _unlabelled(dataset: FileDataset, labels: Path) -> int:
    """How many photos have no label map; a PNG among the label maps is none of them."""
    paired = {item.photo for item in dataset.items}
    rest = (path for path in photo_files(dataset.root) if path not in paired)
    return sum(1 for path in rest if not (path.suffix == ".png" and path.is_relative_to(labels)))


def _label_files(labels: Path, item: Item) -> list[Path]:
    from semples.segmenter.views import CONFIDENCE

    paths = (place_of(labels, item.id, ".png"), place_of(labels / CONFIDENCE, item.id, ".png"))
    return [path for path in paths if path.is_file()]
