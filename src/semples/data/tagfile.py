"""Tags files: one row a photo, CSV or JSON.

CSV: the first line names the columns. The photo stands in the column `image` (or photo, file, filename, path, ...),
else in the first. Tags stand in a column `tags` (or tag, labels, label, classes), separated by `;` `|` or, within
quotes, `,`; other columns are then ignored. Without such a column, every further column is a class and its cells say
1 or 0 (yes/no, true/false, x and blank do as well; -1 counts as no). Columns are separated by `,` `;` or tab. The
first line may be missing where there are just two columns, photo and tags, and the first cell ends like a photo's name.

JSON: `{"photo": ["tag", ...], ...}` or `[{"image": "photo", "tags": ["tag", ...]}, ...]`; tags may be one text as in
CSV.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from semples.core.errors import UserError
from semples.core.plain import has_control, short
from semples.data.dataset import Problem
from semples.data.photos import PHOTO_SUFFIXES
from semples.data.text import nfc, read_text

PHOTO_COLUMNS = frozenset(
    {"image", "images", "photo", "photos", "file", "filename", "file_name", "path", "name", "img", "id", "image_path"}
)
TAG_COLUMNS = frozenset({"tags", "tag", "labels", "label", "classes"})
YES = frozenset({"1", "1.0", "yes", "y", "true", "t", "x"})
NO = frozenset({"", "0", "0.0", "no", "n", "false", "f", "-1", "-1.0"})


@dataclass(frozen=True)
class Row:
    """One row: where it stands ("tags.csv, line 3"), the photo as written there, and its tag names."""

    where: str
    photo: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class TagTable:
    """The rows of a tags file, what was wrong with others, and the classes where each has a column of its own."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    columns: tuple[str, ...] = ()


def read_table(path: Path) -> TagTable:
    """Read a tags file by its content: JSON where it starts with `{` or `[`, else CSV.

    Raises UserError where the file as a whole makes no sense; a single bad row becomes a Problem.
    """
    text = read_text(path)
    table = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_csv(path, text)
    return _without_control(table)


def _without_control(table: TagTable) -> TagTable:
    """The table without rows whose tags hold a line break or another control sign: they could forge other rows."""
    rows, problems = [], list(table.problems)
    for row in table.rows:
        odd = next((name for name in row.tags if has_control(name)), None)
        if odd is None:
            rows.append(row)
        else:
            what = f"{row.photo[:80]}: the tag {short(odd, limit=60)} holds a control sign; write it without"
            problems.append(Problem(row.where, what))
    return TagTable(tuple(rows), tuple(problems), table.columns)


def split_tags(text: str) -> tuple[str, ...]:
    """Tag names of one cell: separated by `;` `|` or `,`, without blanks and repeats, in the order written."""
    return _distinct(re.split(r"[;|,]", text))


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in map(nfc, names) if name))


# ---------------------------------------------------------------------------------------------------------- CSV


def _from_csv(path: Path, text: str) -> TagTable:
    rows = _csv_rows(path, text)
    if not rows:
        raise UserError(f"{path}: the file is empty; write a line `image,tags` and one row for each photo")
    header = [nfc(cell) for cell in rows[0][1]]
    lowered = [cell.casefold() for cell in header]
    photo_column = next((index for index, cell in enumerate(lowered) if cell in PHOTO_COLUMNS), None)
    tag_column = next((index for index, cell in enumerate(lowered) if cell in TAG_COLUMNS), None)
    if photo_column is None and tag_column is None and _is_photo_name(header[0]):
        if len(header) > 2:
            raise UserError(f"{path}: its first line must name the columns, for example `image,tags`")
        header, photo_column, tag_column = ["image", "tags"], 0, 1
    else:
        rows = rows[1:]
        photo_column = photo_column or 0
    if len(header) < 2:
        raise UserError(f"{path}: only one column; write `image,tags`, or one column for each class")
    columns = [index for index in range(len(header)) if index != photo_column]
    classes = () if tag_column is not None else tuple(header[index] for index in columns)
    if tag_column is None and ("" in classes or len(set(classes)) < len(classes)):
        raise UserError(f"{path}: its first line must name every column once (no column is called `tags`)")

    found: list[Row] = []
    problems: list[Problem] = []
    for number, cells in rows:
        where = f"{path.name}, line {number}"
        if len(cells) > len(header) and any(map(str.strip, cells[len(header) :])):
            problem = f"{len(cells)} cells, but the first line has {len(header)}; put tags in quotes or part them by ;"
            problems.append(Problem(where, problem))
            continue
        cells = cells + [""] * (len(header) - len(cells))
        if not cells[photo_column].strip():
            problems.append(Problem(where, "no photo is named"))
        elif tag_column is not None:
            found.append(Row(where, nfc(cells[photo_column]), split_tags(cells[tag_column])))
        else:
            flags = [cells[index].strip().casefold() for index in columns]
            odd = next((index for index, flag in enumerate(flags) if flag not in YES | NO), None)
            if odd is not None:
                problems.append(Problem(where, f"{classes[odd]}: {flags[odd][:40]!r} is neither 1 nor 0"))
                continue
            tags = tuple(name for name, flag in zip(classes, flags, strict=True) if flag in YES)
            found.append(Row(where, nfc(cells[photo_column]), tags))
    return TagTable(tuple(found), tuple(problems), classes)


def _csv_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line number."""
    lines = io.StringIO(text, newline="").readlines()
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or re.fullmatch(r"sep=.\s*", lines[skipped])):
        skipped += 1  # blank, or Excel's remark on its separator
    lines = lines[skipped:]
    reader = csv.reader(lines, delimiter=_delimiter(lines[0] if lines else ""), strict=True, skipinitialspace=True)
    try:
        return [(reader.line_num + skipped, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num + skipped}: {error}; check the quotes") from None


def _delimiter(first_line: str) -> str:
    """The first of tab, comma, semicolon that stands outside quotes in the line that names the columns."""
    outside = re.sub(r'"[^"]*"', "", first_line)
    return next((character for character in outside if character in "\t,;"), ",")


def _is_photo_name(name: str) -> bool:
    return PurePosixPath(name).suffix.casefold() in PHOTO_SUFFIXES


# --------------------------------------------------------------------------------------------------------- JSON


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written, repeated keys included."""


def _from_json(path: Path, text: str) -> TagTable:
    try:
        tree = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise UserError(f"{path}: not a tags file; it is nested too deeply or holds an endless number") from None
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, (photo, tags) in enumerate(_json_entries(tree), start=1):
        where = f"{path.name}, entry {number}"
        names = _json_tags(tags)
        if not isinstance(photo, str) or not photo.strip():
            problems.append(Problem(where, "no photo is named; write its path as text"))
        elif names is None:
            problems.append(Problem(where, f"{photo[:80]}: tags must be a list of names"))
        else:
            rows.append(Row(where, nfc(photo), names))
    if not rows and not problems:
        raise UserError(f"{path}: names no photo; write {{photo: [tags]}} or [{{image: photo, tags: [...]}}]")
    return TagTable(tuple(rows), tuple(problems))


def _json_entries(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, _Pairs):
        yield from tree
        return
    for entry in tree:
        fields = {key.casefold(): value for key, value in entry} if isinstance(entry, _Pairs) else {}
        photo = next((value for key, value in fields.items() if key in PHOTO_COLUMNS), None)
        yield photo, next((value for key, value in fields.items() if key in TAG_COLUMNS), None)


def _json_tags(tags: Any) -> tuple[str, ...] | None:
    if isinstance(tags, str):
        return split_tags(tags)
    if isinstance(tags, _Pairs) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return None
    return _distinct(tags)
