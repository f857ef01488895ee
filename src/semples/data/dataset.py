"""What every dataset of tagged photos offers, and the registry of readers that find one in a folder.

A reader is a module (or an object) with two functions, `recognises(root) -> bool` and `read(root, *, split, tags,
classes, max_megapixels) -> TaggedDataset`. To add one, write the module and give it a line in `READERS`, or name it in
the entry points `semples.datasets` of a package of your own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semples.core import cells
from semples.core.errors import UserError
from semples.core.registry import Registry
from semples.data.classes import MAX_CLASSES, VOC_CLASSES, ClassList, class_list
from semples.data.coco_classes import CATEGORIES, COCO_CLASSES
from semples.data.hub import local_source
from semples.data.masks import QUARTER, Way, upright_mask, way_of
from semples.data.names import safe_relative
from semples.data.photos import MAX_MEGAPIXELS, PhotoError, probe, probe_turn, read_photo
from semples.data.problem import Problem

__all__ = [
    "IGNORE",
    "MAX_CLASSES",
    "READERS",
    "VOC_CLASSES",
    "ClassList",
    "FileDataset",
    "Item",
    "PhotoError",
    "Problem",
    "Subset",
    "TaggedDataset",
    "class_list",
    "drawn",
    "open_dataset",
    "safe_relative",
    "with_items",
]

IGNORE = 255  # label of pixels that are not scored
DRAW_KEY = 3  # of the random numbers that photos are drawn by

# Readers by name; asked in this order, the first that recognises the folder reads it.
READERS: Registry[Reader] = Registry(
    kind="reader",
    group="semples.datasets",
    shipped={
        "voc": "semples.data.readers.voc",
        "folder": "semples.data.readers.folder",
        "published": "semples.data.readers.published",
        "shards": "semples.data.readers.shards",
        "parquet": "semples.data.readers.parquet",
    },
    base=("recognises", "read"),
)


@dataclass(frozen=True)
class Item:
    """One photo of a dataset.

    `id` is unique, in posix style without the extension, and safe as a relative path for outputs. `tags` are 0-based
    class indices in ascending order; none means background only. `mask` is None where there is no ground truth. `open`
    are classes of which nobody says whether it shows them (`dog?`), in ascending order, none of them in `tags`.
    """

    id: str
    photo: Path
    tags: tuple[int, ...]
    mask: Path | None = None
    open: tuple[int, ...] = ()

    @property
    def possible(self) -> tuple[int, ...]:
        """Classes that it may show, in ascending order: its tags and those left open."""
        return tuple(sorted({*self.tags, *self.open})) if self.open else self.tags


@runtime_checkable
class TaggedDataset(Protocol):
    """Photos with tags. `problems` is what reading set aside; photos that turn out unreadable: `data.verify_photos`."""

    @property
    def name(self) -> str: ...
    @property
    def root(self) -> Path: ...
    @property
    def classes(self) -> ClassList: ...
    @property
    def items(self) -> tuple[Item, ...]: ...
    @property
    def problems(self) -> tuple[Problem, ...]: ...

    def photo(self, item: Item | int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB, upright. Raises PhotoError."""
        ...

    def mask(self, item: Item) -> NDArray[np.uint8] | None:
        """(H, W) uint8 labels, the photo's size: 0 background, class k is k + 1, 255 ignore. Raises PhotoError."""
        ...


@dataclass(frozen=True)
class FileDataset:
    """A dataset whose photos and masks are files: what the readers of this package return.

    `notes` are remarks on how its files were read, of which nothing is set aside.
    """

    name: str
    root: Path
    classes: ClassList
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]
    max_megapixels: float = MAX_MEGAPIXELS
    bits: int = 0  # of the greatest value in photos of 16 bits; 0: as each file says
    notes: tuple[Problem, ...] = ()

    def photo(self, item: Item | int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, RGB, upright, of a photo or of that at a place among `items`. Raises PhotoError."""
        shown = self.items[item] if isinstance(item, int) else item
        return read_photo(shown.photo, max_megapixels=self.max_megapixels, bits=self.bits)

    @cached_property
    def mask_way(self) -> Way:
        """Which way up masks of turned photos are, by the first whose size tells."""
        for item in self.items:
            if item.mask is not None:
                try:
                    size, orientation = probe_turn(item.photo, max_megapixels=self.max_megapixels)
                    if orientation >= QUARTER:
                        way = way_of(probe(item.mask, max_megapixels=self.max_megapixels), size, orientation)
                        if way != "unknown":
                            return way
                except PhotoError:
                    continue
        return "unknown"

    def mask(self, item: Item) -> NDArray[np.uint8] | None:
        """(H, W) uint8 labels of the photo's size, None where there is no mask. Raises PhotoError."""
        if item.mask is None:
            return None
        labels = upright_mask(item.mask, item.photo, max_megapixels=self.max_megapixels, way=lambda: self.mask_way)
        unknown = [int(value) for value in np.unique(labels) if len(self.classes) < value < IGNORE]
        if unknown:
            coco = len(self.classes) == len(COCO_CLASSES) and max(unknown) <= max(CATEGORIES)
            raise PhotoError(
                f"{item.mask}: the mask holds the value {unknown[0]}, but there are {len(self.classes)} classes; "
                + ("COCO's own numbers go to 90: name 90 classes" if coco else "correct the mask or the class list")
            )
        return labels


@dataclass(frozen=True)
class Derived:
    """What datasets have in common that are made of another one."""

    whole: TaggedDataset

    @property
    def name(self) -> str:
        return self.whole.name

    @property
    def root(self) -> Path:
        return self.whole.root

    @property
    def classes(self) -> ClassList:
        return self.whole.classes

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.whole.problems

    def mask(self, item: Item) -> NDArray[np.uint8] | None:
        return self.whole.mask(item)


@dataclass(frozen=True)
class Subset(Derived):
    """A dataset restricted to some of its items, all else as in `whole`."""

    items: tuple[Item, ...]

    def photo(self, item: Item | int) -> NDArray[np.uint8]:
        return self.whole.photo(self.items[item] if isinstance(item, int) else item)


def with_items(dataset: TaggedDataset, items: Iterable[Item]) -> TaggedDataset:
    """`dataset` with only `items`, in the order given."""
    return Subset(dataset.whole if isinstance(dataset, Subset) else dataset, tuple(items))


class Reader(Protocol):
    """What a reader module offers."""

    def recognises(self, root: Path) -> bool:
        """Whether the folder has this reader's layout."""
        ...

    def read(
        self, root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
    ) -> TaggedDataset:
        """List the photos with their tags. Opens no photo. Raises UserError."""
        ...


@runtime_checkable
class ColumnReader(Protocol):
    """A reader of tags in a column that can be named."""

    def of_column(self, column: str) -> Reader:
        """The reader of that column."""
        ...


def open_dataset(
    root: Path | str,
    *,
    split: str | None = None,
    reader: str | None = None,
    tags: Path | str | None = None,
    classes: ClassList | Path | str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    bits: int = 0,
    column: str = "",
) -> TaggedDataset:
    """List the tagged photos in the folder `root`, in a Parquet file, or in a dataset of the hub (`hf://owner/name`).

    Args:
        split: name of a list of photos; None or "": the reader's default.
        reader: a name in `READERS`; None: the first reader that recognises the folder.
        tags: a tags file to use in place of the one in the folder.
        classes: the class list, or a text file with `name` or `name,prompt word` on each line.
        max_megapixels: larger photos are refused when they are decoded.
        bits: of the greatest value in photos of 16 bits; 0: as each file says.
        column: the column of Parquet files that holds the tags; "": it is found.

    Raises:
        UserError: nothing readable there, or a file of it is unusable as a whole. A single bad row or photo is no
            error: it is set aside and listed in `problems`.
    """
    folder = local_source(root)
    if not folder.is_dir() and not (folder.suffix.casefold() in cells.SUFFIXES and folder.is_file()):
        raise UserError(f"{folder}: no such folder" if not folder.exists() else f"{folder}: not a folder")
    tags_file = None if tags is None else Path(tags).expanduser()
    if tags_file is not None and not tags_file.is_file():
        raise UserError(f"{tags_file}: no such tags file")
    given = class_list(Path(classes).expanduser()) if isinstance(classes, Path | str) else classes
    chosen = _with_column(READERS.load(reader) if reader is not None else _recognise(folder, tags_file), folder, column)
    dataset = chosen.read(folder, split=split or None, tags=tags_file, classes=given, max_megapixels=max_megapixels)
    if not dataset.items:
        first = f"; the first: {dataset.problems[0].where}: {dataset.problems[0].what}" if dataset.problems else ""
        raise UserError(f"{folder}: no usable photo, {len(dataset.problems)} problems{first}")
    return replace(dataset, bits=bits) if bits and isinstance(dataset, FileDataset) else dataset


def _with_column(reader: Reader, folder: Path, column: str) -> Reader:
    """The reader, told which column holds the tags."""
    if not column:
        return reader
    if not isinstance(reader, ColumnReader):
        raise UserError(f"{folder}: tags lie in no column of a Parquet file there; leave the column {column!r} out")
    return reader.of_column(column)


def _recognise(folder: Path, tags: Path | None) -> Reader:
    if folder.is_file():
        return READERS.load("parquet")
    for name in READERS:
        reader = READERS.load(name)
        if reader.recognises(folder):
            return reader
    if tags is not None:
        return READERS.load("folder")
    raise UserError(
        f"{folder}: found neither the VOC layout (JPEGImages with ImageSets or Annotations) nor a tags file "
        "(tags.csv or tags.json); add one with a row `photo,tags` for each photo, or name it; "
        "`semples data import ANNOTATIONS --out FOLDER` reads annotations of other programs"
    )


def drawn(dataset: TaggedDataset, *, count: int, seed: int) -> list[Item]:
    """At most `count` tagged photos, drawn at random, in the order of the dataset."""
    tagged = [item for item in dataset.items if item.tags]
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, DRAW_KEY)))).permutation(len(tagged))
    return [tagged[index] for index in sorted(order[:count])]
