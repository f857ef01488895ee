"""The rows of one file: which hold a photo and a mask, what photos are called there, and their tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from semples.core.cells import Columnar, Field, bytes_field, columnar
from semples.core.errors import UserError
from semples.data.columnar.columns import SHOWN, Kinds, TagColumn, kinds_of, no_photos
from semples.data.columnar.sources import Part
from semples.data.names import is_photo_name
from semples.data.problem import Problem
from semples.data.tables.columns import Columns, choose
from semples.data.tables.grid import Grid, Line
from semples.data.tagfile import TagTable, table_of, without_control

SAMPLE = 1000  # rows that tell which columns hold tags
HEAVY = 64 * 2**20  # bytes of a row group that make photos in random order slow
SAY_WHICH = "say which with --column NAME (`--set data.column=NAME` of a run)"


@dataclass(frozen=True)
class Rows:
    """What a file holds. Of each row: `names`, the photo's path as written there, and whether the cells of the photo
    and the mask hold bytes. `tags` has `row 12` in place of the photo's name.

    `photo` and `mask` are columns of pictures, "" where there is none; `classes`: those that a feature names, in order.
    """

    part: Part
    photo: str
    mask: str
    names: Sequence[str | None]
    filled: Sequence[bool]
    masked: Sequence[bool]
    tags: TagTable
    classes: tuple[str, ...]
    notes: tuple[Problem, ...] = ()


def read_rows(part: Part, *, card: Any, column: str, numbered: Mapping[int, str] | None) -> Rows | None:
    """The rows of a file, None where it has none. No picture is decoded.

    card: the head of README.md; column: that of the tags, "" where it is to be found; numbered: classes of numbers that
    nothing in the file names. Raises UserError.
    """
    with columnar(part.path) as file:
        return _rows(part, file, card=card, column=column, numbered=numbered) if file.starts[-1] else None


def _rows(part: Part, file: Columnar, *, card: Any, column: str, numbered: Mapping[int, str] | None) -> Rows:
    kinds, count = kinds_of(part.path, file.schema, card), file.starts[-1]
    path = kinds.path or _path_column(part.path, file, kinds)
    tags, columns = _tag_columns(part.path, file, kinds, column)
    for index in columns.tags:
        told = tags[index - 1]
        if told.numbers and told.names is None and not numbered:
            raise UserError(
                f"{part.path}: the tags in {told.name!r} are numbers, and nothing names their classes; write the names "
                "into classes.txt beside it, in the order of the numbers from 0"
            )
    shown = [tags[index - 1] for index in (*columns.tags, *columns.flags)]
    if columns.sure is not None:
        shown.append(tags[columns.sure - 1])
    chosen = _of_shown(columns)
    lines, names = [], []
    cells = _cells(file, [*([path] if path else []), *(one.field for one in shown)])
    for number, row in enumerate(cells):
        names.append(_text(row[0], path) if path else None)
        values = (one.value(cell, numbered) for one, cell in zip(shown, row[bool(path) :], strict=True))
        lines.append(Line(part.path.name, (f"row {number}", *values)))
    table = table_of(part.path, Grid(("photo", *(one.name for one in shown)), tuple(lines)), columns=chosen)
    classes = [name for index in columns.tags for name in (tags[index - 1].names or {}).values()]
    return Rows(
        part,
        kinds.photo if kinds.bytes else "",
        kinds.mask,
        names,
        _filled(file, kinds.bytes) if kinds.bytes else [False] * count,
        _filled(file, bytes_field(file.schema, kinds.mask)) if kinds.mask else [False] * count,
        without_control(table),
        tuple(dict.fromkeys(classes)),
        _heavy(part, file, kinds.bytes),
    )


def photo_rows(path: Path) -> tuple[str, list[str | None], list[bool]]:
    """The column of photos in a file; of each row the path it names, and whether it holds bytes. Raises UserError."""
    with columnar(path) as file:
        kinds = kinds_of(path, file.schema, None)
        if kinds.bytes is None:
            raise no_photos(path, file.schema.names)
        names: list[str | None] = [None] * file.starts[-1]
        if kinds.path is not None:
            names = [_text(row[0], kinds.path) for row in _cells(file, [kinds.path])]
        return kinds.photo, names, _filled(file, kinds.bytes)


# ------------------------------------------------------------------------------------------------------------ columns


def _path_column(path: Path, file: Columnar, kinds: Kinds) -> Field | None:
    """The column of the photos' paths where the file holds no pictures; None where it does."""
    if kinds.bytes is not None:
        return None
    if len(kinds.paths) == 1:
        return (kinds.paths[0],)
    fields = [(name,) for name in kinds.paths]
    rows = list(_sample(file, fields)) if fields else []
    told = [sum(isinstance(row[k], str) and is_photo_name(row[k]) for row in rows) for k in range(len(fields))]
    if not any(told):
        raise no_photos(path, file.schema.names)
    return fields[told.index(max(told))]


def _tag_columns(path: Path, file: Columnar, kinds: Kinds, column: str) -> tuple[tuple[TagColumn, ...], Columns]:
    """The columns that may hold tags, and which of them do (1 for the first of them). Raises UserError."""
    tags = kinds.tags
    listed = ", ".join([one.name for one in tags][:SHOWN]) or "none"
    if column:
        chosen = [one for one in tags if one.name == column]
        if not chosen:
            raise UserError(f"{path}: no column {column!r} that could hold tags; there are: {listed}")
        return tuple(chosen), Columns(0, (1,), (), False)
    told = tuple(one for one in tags if one.told)
    if len(told) == 1:
        return told, Columns(0, (1,), (), False)
    tags = told or tags
    rows = list(_sample(file, [one.field for one in tags])) if tags else []
    values = [[one.value(row[k], None) for row in rows] for k, one in enumerate(tags)]
    try:
        columns = choose(
            path, ["photo", *(one.name for one in tags)], lambda k: values[k - 1] if k else ["photo.jpg"], photo=0
        )
    except UserError:
        what = "several columns of classes" if told else "no column is called `tags`, `label` or the like"
        names = ", ".join([one.name for one in tags][:SHOWN]) or "none"
        raise UserError(f"{path}: {what}: {names}; {SAY_WHICH}") from None
    return tags, columns


def _of_shown(columns: Columns) -> Columns:
    """`columns` of a table with the photo and those of tags alone, in order, and last the one of confidence."""
    tags, both = len(columns.tags), len(columns.tags) + len(columns.flags)
    sure = None if columns.sure is None else both + 1
    return replace(columns, tags=tuple(range(1, tags + 1)), flags=tuple(range(tags + 1, both + 1)), sure=sure)


# -------------------------------------------------------------------------------------------------------------- cells


def _cells(file: Columnar, fields: Sequence[Field]) -> Iterator[tuple[Any, ...]]:
    """The values of fields (of a field within a column: the whole column's), row by row."""
    for batch in file.batches(fields):
        yield from zip(*(batch.column(field[0]).to_pylist() for field in fields), strict=True)


def _sample(file: Columnar, fields: Sequence[Field]) -> Iterator[tuple[Any, ...]]:
    for batch in file.batches(fields):
        yield from zip(*(batch.column(field[0]).to_pylist()[:SAMPLE] for field in fields), strict=True)
        return


def _text(cell: Any, field: Field) -> str | None:
    value = cell.get(field[1]) if len(field) > 1 and isinstance(cell, Mapping) else cell
    return value if isinstance(value, str) and value.strip() else None


def _filled(file: Columnar, field: Field) -> list[bool]:
    """Whether each row has bytes there; they are read only where the file does not say how many cells have none."""
    filled: list[bool] = []
    for number, (start, stop) in enumerate(pairwise(file.starts)):
        empty = file.nulls(number, field)
        if empty in (0, stop - start):
            filled += [empty == 0] * (stop - start)
        else:
            filled += _valid(file.group(number, field), field)
    return filled


def _valid(column: Any, field: Field) -> list[bool]:
    from pyarrow import compute

    if len(field) > 1:
        column = compute.struct_field(column, field[1])
    return [bool(value) for value in column.is_valid().to_pylist()]


def _heavy(part: Part, file: Columnar, field: Field | None) -> tuple[Problem, ...]:
    """A remark on row groups that are so large that photos in random order cost much reading."""
    weight = max((file.weight(number, field) for number in range(len(file.starts) - 1)), default=0) if field else 0
    if weight <= HEAVY:
        return ()
    what = (
        f"row groups of up to {weight / 2**20:.0f} MB are read whole for a photo; training is faster on files written "
        "with groups of 100 rows (row_group_size of pyarrow, batch_size of datasets)"
    )
    return (Problem(part.path.name, what),)
