"""Photos and label maps of any folders, paired by name: what a segmenter can be trained on beside a run's own maps.

Photos may lie in Parquet files or in a dataset of the hub too, or be those of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from semples.core.cells import SUFFIXES, inside
from semples.core.errors import UserError
from semples.core.files import sha256_file
from semples.core.places import place_of
from semples.data.columnar.photos import photos_in
from semples.data.columnar.sources import holds_columns
from semples.data.dataset import ClassList, FileDataset, Item, class_list
from semples.data.hub import local_source
from semples.data.listing import find_files
from semples.data.names import stem
from semples.data.text import nfc
from semples.data.verify import verify_photos

CLASSES = "classes.txt"


@dataclass(frozen=True)
class Folders:
    """Photos (see `paired_dataset`), or the dataset of a run, and a folder of label maps; and a class list where it
    lies beside neither."""

    photos: Path | FileDataset
    labels: Path
    classes: Path | None = None

    @cached_property
    def dataset(self) -> FileDataset:
        """The photos that have a label map, listed once."""
        if isinstance(self.photos, FileDataset):
            return labelled_part(self.photos, self.labels)
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
        if isinstance(self.photos, FileDataset):
            return len(self.photos.items) - len(self.dataset.items)
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

    photos: a folder; or a Parquet file, a folder of them or of `save_to_disk`, or a place of the hub (`data.hub`):
    their photos are named as the reader of tagged photos and `predict` name them (`data.columnar.ids`). The class list
    is the file given, or classes.txt beside label maps or photos. Raises UserError.
    """
    photos = local_source(photos)
    beside = photos.parent if _is_columnar(photos) else photos
    for folder in (beside, labels):
        if not folder.is_dir():
            raise UserError(f"{folder}: not a folder" if folder.exists() else f"{folder}: no such folder")
    names = [classes] if classes is not None else [folder / CLASSES for folder in (labels, beside)]
    list_file = next((path for path in names if path.is_file()), None)
    if list_file is None:
        raise UserError(f"{names[0]}: no such class list; name one with --classes (a class name on each line)")
    named = _named_photos(photos, labels)
    items = [Item(name, path, ()) for path, name in named if _has_map(labels, name, path)]
    if not items:
        raise UserError(_unpaired(photos, labels, named))
    listed: ClassList = class_list(list_file)
    return FileDataset(photos.resolve().name, photos, listed, tuple(items), ())


def labelled_part(dataset: FileDataset, labels: Path) -> FileDataset:
    """The photos of a dataset that have a label map below `labels`. Raises UserError where none has."""
    if not labels.is_dir():
        raise UserError(f"{labels}: not a folder" if labels.exists() else f"{labels}: no such folder")
    items = tuple(item for item in dataset.items if _has_map(labels, item.id, item.photo))
    if not items:
        called = f"{len(dataset.items)} photos, {dataset.items[0].id} and so on" if dataset.items else "no photos"
        raise UserError(f"{labels}: no label map NAME.png for any photo NAME of {dataset.name}; it has {called}")
    return replace(dataset, items=items)


def _is_columnar(source: Path) -> bool:
    return source.suffix.casefold() in SUFFIXES and source.is_file()


def _named_photos(photos: Path, labels: Path) -> list[tuple[Path, str]]:
    """(path, name without suffix) of every photo. The cells of Parquet and Arrow files are photos where no file is one
    that lies in no folder of masks."""
    if _is_columnar(photos) or (holds_columns(photos) and not _files_beside(photos, labels)):
        return [(path, stem(name)) for path, name in photos_in(photos)]
    return [(path, nfc(path.relative_to(photos).with_suffix("").as_posix())) for path in photo_files(photos)]


def _files_beside(photos: Path, labels: Path) -> bool:
    """Whether files below `photos` are photos rather than masks or the label maps."""
    return any(not (photos / path).is_relative_to(labels) for path in find_files(photos))


def _has_map(labels: Path, name: str, photo: Path) -> bool:
    file = place_of(labels, name, ".png")
    return file.is_file() and file != photo


def _unpaired(photos: Path, labels: Path, named: list[tuple[Path, str]]) -> str:
    """What to say where no photo has a label map."""
    what = f"{labels}: no label map NAME.png for any photo NAME"
    cell = inside(named[0][0]) if named else None
    if cell is None:
        return f"{what} below {photos}"
    by_row = all(name.endswith(f"/{path.name.partition('.')[0]:0>6}") for path, name in named)
    called = f"{len(named)} photos are called {named[0][1]}, {named[-1][1]}" if len(named) > 1 else named[0][1]
    how = ", after file and row, since its rows name no paths of their own" if by_row else ", after their paths"
    return f"{what} of {photos}; its {called}{how}: name the label maps so"


def photo_files(folder: Path) -> Iterator[Path]:
    """Photos below `folder` (`data.listing`: no masks, nothing hidden), in order."""
    yield from sorted(folder / path for path in find_files(folder))


def _unlabelled(dataset: FileDataset, labels: Path) -> int:
    """How many photos have no label map; a PNG among the label maps is none of them."""
    paired = {item.photo for item in dataset.items}
    rest = (path for path, _ in _named_photos(dataset.root, labels) if path not in paired)
    return sum(1 for path in rest if not (path.suffix == ".png" and path.is_relative_to(labels)))


def _label_files(labels: Path, item: Item) -> list[Path]:
    from semples.segmenter.views import CONFIDENCE

    paths = (place_of(labels, item.id, ".png"), place_of(labels / CONFIDENCE, item.id, ".png"))
    return [path for path in paths if path.is_file()]
