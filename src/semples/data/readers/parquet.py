"""Reader of photos in columns of Parquet files, as Hugging Face `datasets` and others write them; nothing is unpacked.

    photos.parquet, data/train-00000-of-00004.parquet   a file, or a folder of them, with or without its README.md
    dataset_dict.json, state.json, data-*.arrow         or a folder that `save_to_disk` made
    classes.txt             optional: the classes in order, `name` or `name,prompt word` a line

The photo's column is an Image of `datasets` (its bytes), a column of bytes, or one of paths below the folder. The tags'
column is found by its feature (ClassLabel), else by its name, as in tables (`data.tagfile`): text, lists, things with a
`category`, or a column of 1 and 0 for each class. Another Image column of a mask's name (`mask`, `annotation`, `label`)
holds masks.

A photo's id is the path that its row names, without extension, within a folder of its split where there are several;
else `train-00000-of-00004/000012`, file and row. Class order: classes.txt, else that of ClassLabel or of the columns,
else alphabetical.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semples.core.cells import path_of
from semples.core.errors import UserError
from semples.data import open_tags
from semples.data.card import card
from semples.data.columnar.ids import ids_of, suffix_of
from semples.data.columnar.rows import Rows, read_rows
from semples.data.columnar.sources import Part, all_parts, holds_columns, missing_shards, parts_of
from semples.data.dataset import MAX_CLASSES, ClassList, FileDataset, Item, Problem, class_list
from semples.data.listing import list_photos
from semples.data.names import PhotoFinder, unique_ids
from semples.data.readers.folder import unknown_tag
from semples.data.tagfile import TagTable
from semples.data.tagjoin import join

BACKGROUND = "background"


def recognises(root: Path) -> bool:
    """Whether the folder holds Parquet files, or is one that `save_to_disk` made."""
    return holds_columns(root)


def read(
    root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
) -> FileDataset:
    """List the photos in the files of a split, without `split` those of train, else all. Raises UserError."""
    return OfColumn("").read(root, split=split, tags=tags, classes=classes, max_megapixels=max_megapixels)


def of_column(column: str) -> OfColumn:
    """The reader that takes the tags from the column of this name."""
    return OfColumn(column)


@dataclass(frozen=True)
class OfColumn:
    """The reader with a column for the tags; "": the one that feature or name tells."""

    column: str

    def recognises(self, root: Path) -> bool:
        """See `recognises`."""
        return recognises(root)

    def read(
        self, root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
    ) -> FileDataset:
        """See `read`."""
        if tags is not None:
            raise UserError(f"{root}: its tags lie in a column, so {tags.name} is not read; leave --tags out")
        base = root if root.is_dir() else root.parent
        parts, name, several = parts_of(root, split)
        if classes is None and (base / "classes.txt").is_file():
            classes = class_list(base / "classes.txt")
        head, numbered = card(base), _numbered(classes)
        tables = [read_rows(part, card=head, column=self.column, numbered=numbered) for part in parts]
        filled = [table for table in tables if table is not None]
        if not filled:
            raise UserError(f"{root}: its files hold no rows")
        if classes is None:
            classes = _classes(root, filled, lambda: self._others(root, split, parts, head))
        gathered = _Gathered(classes)
        ids = iter(ids_of([row for table in filled for row in _rows_of(table, several=several)]))
        for table in filled:
            gathered.add_cells(table, [next(ids) for _ in table.names])
        loose = [table for table in filled if not all(table.filled)]
        if loose:
            gathered.add_files(base, loose)
        notes = [note for table in filled for note in (*table.notes, *table.tags.notes)]
        notes += [Problem(root.name, f"only {what} are here") for what in missing_shards(parts)]
        title = (root.resolve().name if root.is_dir() else root.stem) + (f"/{name}" if name else "")
        items, problems = tuple(gathered.items), tuple(gathered.problems)
        return FileDataset(title, root, classes, items, problems, max_megapixels, notes=tuple(dict.fromkeys(notes)))

    def _others(self, root: Path, split: str | None, parts: Sequence[Part], head: Any) -> list[Rows]:
        """The rows of the other splits, whose tags are classes too; those without tags are left out."""
        config = (split or "").rpartition("/")[0]
        rows: list[Rows] = []
        for part in all_parts(root, config)[0]:
            if part not in parts:
                with suppress(UserError):
                    read = read_rows(part, card=head, column=self.column, numbered=None)
                    rows += [] if read is None else [read]
        return rows


class _Gathered:
    """The items of a dataset and its problems, as they are gathered."""

    def __init__(self, classes: ClassList) -> None:
        self._classes = classes
        self._numbers = {name: number for number, name in enumerate(classes.names)}
        self.items: list[Item] = []
        self.problems: list[Problem] = []

    def add_cells(self, table: Rows, ids: Sequence[str]) -> None:
        """Add the photos whose bytes lie in cells."""
        self.problems += table.tags.problems
        for row in table.tags.rows:
            number = _number(row.photo)
            if table.filled[number]:
                file = table.part.path
                photo = path_of(file, table.photo, number, suffix_of(table.names[number]))
                mask = path_of(file, table.mask, number, ".png") if table.masked[number] else None
                self._add(f"{row.where}, {row.photo}", ids[number], photo, row.tags, mask)

    def add_files(self, root: Path, tables: Sequence[Rows]) -> None:
        """Add the photos of rows that name a file below `root`."""
        listing = list_photos(root)
        rows, lost = [], []
        for table in tables:
            for row in table.tags.rows:
                number = _number(row.photo)
                name, where = table.names[number], f"{row.where}, {row.photo}"
                if table.filled[number]:
                    continue
                if name is None:
                    self.problems.append(Problem(where, "no photo in it, neither its bytes nor a path"))
                else:
                    rows.append(replace(row, where=where, photo=name))
            lost += [table.names[_number(key)] for key in table.tags.lost if not table.filled[_number(key)]]
        each = any(table.tags.each for table in tables)
        joined = join(
            TagTable(tuple(rows), (), each=each, lost=tuple(name for name in lost if name)), PhotoFinder(listing.photos)
        )
        self.problems += [*joined.problems, *listing.problems]
        ids = unique_ids(listing.photos)
        for path, (where, written) in joined.tags.items():
            if path not in joined.lost:
                self._add(where, ids[path], root / path, written, None)

    def _add(self, where: str, id: str, photo: Path, written: tuple[str, ...], mask: Path | None) -> None:
        sure, unsure = open_tags.parted(written, self._numbers)
        missing = [name for name in (*sure, *unsure) if name not in self._numbers]
        if missing:
            self.problems.append(Problem(where, unknown_tag(missing[0], self._classes)))
            return
        shown = tuple(sorted({self._numbers[name] for name in sure}))
        left_open = tuple(sorted({self._numbers[name] for name in unsure} - set(shown)))
        self.items.append(Item(id, photo, shown, mask, left_open))


def _rows_of(table: Rows, *, several: bool) -> list[tuple[str, str, int, str | None]]:
    split = table.part.split if several else ""
    return [(split, table.part.below, number, name) for number, name in enumerate(table.names)]


def _number(photo: str) -> int:
    """The row that stands in a table in place of a photo: `row 12`."""
    return int(photo.rpartition(" ")[2])


def _numbered(classes: ClassList | None) -> Mapping[int, str] | None:
    """The classes that bare numbers mean: the numbers themselves where the list has numbers, else its order."""
    if classes is None:
        return None
    if all(name.isascii() and name.isdigit() for name in classes.names):
        return {int(name): name for name in classes.names}
    return dict(enumerate(classes.names))


def _classes(root: Path, tables: Sequence[Rows], others: Callable[[], Sequence[Rows]]) -> ClassList:
    """The classes that features or columns name, in their order, else those of the tags, also of other splits: every
    split then has the same classes."""
    if not any(table.classes or table.tags.columns for table in tables):
        tables = [*tables, *others()]
    used = {open_tags.bare(tag) for table in tables for row in table.tags.rows for tag in row.tags}
    told = list(dict.fromkeys(name for table in tables for name in (*table.classes, *table.tags.columns)))
    names = [name for name in told if name in used or name.casefold() != BACKGROUND]
    if len(names) > MAX_CLASSES:
        names = [name for name in told if name in used]
    rest = sorted(used - set(names))
    if not names and not rest:
        raise UserError(f"{root}: no photo carries a tag; name the classes in classes.txt")
    return ClassList((*names, *rest))
