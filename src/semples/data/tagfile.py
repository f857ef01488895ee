"""Tags files: one row a photo, or one a thing; CSV, JSON or JSON lines. The one reader of tags in tables.

CSV: the first line names the columns, parted by `,` `;` tab or `|` (Excel's `sep=;` before it is heeded). The photo
stands in the column `image` (or photo, file, filename, path, ...), else in the one whose cells end like photos. Tags
stand in a column `tags` (or labels, classes, categories, or tag, label, class, category, ...), separated by `;` `|` or,
within quotes, `,`; lists as Python writes them (`['boat', 'dog']`) are read; other columns are then ignored. Without
such a column, every further column is a class and its cells say 1 or 0 (yes/no, true/false, x and blank do as well; -1
counts as no); row numbers and remarks (split, width, ...) are no classes. The first line may be missing where there are
just two columns, photo and tags, and the first cell ends like a photo's name.

JSON: `{"photo": ["tag", ...], ...}` or `[{"image": "photo", "tags": ["tag", ...]}, ...]` (or one such object a line);
the fields are those of CSV's columns; tags may be one text as in CSV.

A tag that ends in `?`, or a cell `?` of a class's column, leaves open whether the photo shows it (`open_tags`).

A missing value (nan, None, null) in place of tags is no answer: the photo is named as a problem. Text is UTF-8 or
UTF-16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semples.core.plain import has_control, short
from semples.data.open_tags import MARK
from semples.data.problem import Problem
from semples.data.tables.cells import NoTags, flag, split_tags, tags_of
from semples.data.tables.columns import Columns, choose
from semples.data.tables.grid import Grid, Line, read_grid
from semples.data.text import nfc, read_text

__all__ = ["Row", "TagTable", "read_table", "split_tags"]


@dataclass(frozen=True)
class Row:
    """One row: where it stands ("tags.csv, line 3"), the photo as written there, and its tag names."""

    where: str
    photo: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class TagTable:
    """The rows of a tags file, what was wrong with others, and the classes where each has a column of its own.

    `each`: a row stands for one thing, so that several rows of a photo are usual. `lost` are the photos, as written, of
    rows that say nothing usable: their tags are not known even where other rows name them. `notes`: remarks.
    """

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    columns: tuple[str, ...] = ()
    each: bool = False
    lost: tuple[str, ...] = ()
    notes: tuple[Problem, ...] = ()


def read_table(path: Path, *, names: Mapping[int, str] | None = None) -> TagTable:
    """Read a tags file by its content: JSON where it starts with `{` or `[`, else CSV.

    `names`: the classes of numbers that stand in place of tags. Raises UserError where the file as a whole makes no
    sense; a single bad row becomes a Problem.
    """
    return without_control(table_of(path, read_grid(path, read_text(path)), names))


def without_control(table: TagTable) -> TagTable:
    """The table without rows whose tags hold a line break or another control sign: they could forge other rows."""
    rows, problems = [], list(table.problems)
    for row in table.rows:
        odd = next((name for name in row.tags if has_control(name)), None)
        if odd is None:
            rows.append(row)
        else:
            what = f"{row.photo[:80]}: the tag {short(odd, limit=60)} holds a control sign; write it without"
            problems.append(Problem(row.where, what))
    return replace(table, rows=tuple(rows), problems=tuple(problems))


def table_of(
    path: Path, grid: Grid, names: Mapping[int, str] | None = None, *, columns: Columns | None = None
) -> TagTable:
    """The tags in a grid, whose file is named in what is said of it; `columns`: where known. Raises UserError."""
    if columns is None:
        columns = choose(
            path, grid.columns, lambda index: [line.cells[index] for line in grid.lines if index < len(line.cells)]
        )
    rows: list[Row] = []
    problems: list[Problem] = []
    lost: list[str] = []
    for line in grid.lines:
        photo = line.cells[columns.photo] if columns.photo < len(line.cells) else None
        if isinstance(photo, dict) and isinstance(photo.get("path"), str):  # Hugging Face: {"bytes": null, "path": ...}
            photo = photo["path"]
        if isinstance(photo, int | float) and not isinstance(photo, bool):
            photo = str(photo)
        if not isinstance(photo, str) or not photo.strip():
            problems.append(Problem(line.where, "no photo is named; write its path as text"))
            continue
        try:
            tags = _tags(line, grid, columns, names)
        except NoTags as reason:
            problems.append(Problem(line.where, f"{photo[:80]}: {reason}"))
            lost.append(nfc(photo))
            continue
        rows.append(Row(line.where, nfc(photo), tags))
    classes = tuple(grid.columns[index] for index in columns.flags)
    notes: tuple[Problem, ...] = ()
    if columns.note:
        notes += (Problem(path.name, columns.note),)
    if columns.ignored:
        notes += (Problem(path.name, f"columns that are no classes are left out: {', '.join(columns.ignored)}"),)
    table = TagTable(tuple(rows), tuple(problems), classes, columns.many, tuple(lost), notes)
    return replace(table, each=table.each or _is_long(table)) if columns.tags else table


def _tags(line: Line, grid: Grid, columns: Columns, names: Mapping[int, str] | None) -> tuple[str, ...]:
    cells = line.cells
    extra = cells[len(grid.columns) :]
    if any(str(cell).strip() for cell in extra):
        raise NoTags(
            f"{len(cells)} cells, but the first line has {len(grid.columns)}; put tags in quotes or part them by ;"
        )
    cells = (*cells, *[""] * (len(grid.columns) - len(cells)))
    if columns.flags:
        answers: list[str] = []
        for index in columns.flags:
            answer = flag(cells[index])
            if answer is None and str(cells[index]).strip() == MARK:
                answers.append(f"{grid.columns[index]}{MARK}")
                continue
            if answer is None:
                raise NoTags(f"{grid.columns[index]}: {str(cells[index])[:40]!r} is neither 1 nor 0")
            answers += [grid.columns[index]] * answer
        return tuple(answers)
    if columns.sure is not None and flag(cells[columns.sure]) is False and str(cells[columns.sure]).strip():
        return ()
    tags: list[str] = []
    for index in columns.tags:
        tags += tags_of(cells[index], names) if len(columns.tags) == 1 or not _blank(cells[index]) else ()
    return tuple(dict.fromkeys(tags))


def _blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _is_long(table: TagTable) -> bool:
    """Whether a table of the column `tags` holds one tag a row, several rows a photo."""
    single = all(len(row.tags) <= 1 for row in table.rows)
    return single and len(table.rows) >= 1.5 * len({row.photo for row in table.rows}) > 0
