"""Grids: named columns and rows of cells, out of CSV (any separator), JSON in its common shapes, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.plain import is_utf8
from semples.data.names import is_photo_name
from semples.data.tables.columns import PHOTO_COLUMNS, TAG_COLUMNS
from semples.data.text import nfc

MAX_CELL = 10_000_000


@dataclass(frozen=True)
class Line:
    """A row: where it stands ("tags.csv, line 3") and its cells; of CSV all text."""

    where: str
    cells: tuple[Any, ...]


@dataclass(frozen=True)
class Grid:
    """Rows below named columns. `pairs`: made of {photo: tags}, one row for each pair."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    pairs: bool = False


def read_grid(path: Path, text: str) -> Grid:
    """The grid in a file's text: JSON where it starts with `{` or `[`, else CSV. Raises UserError."""
    start = text.lstrip()[:1]
    return _from_json(path, text) if start in ("{", "[") and start else _from_csv(path, text)


# ------------------------------------------------------------------------------------------------------------- CSV


def _from_csv(path: Path, text: str) -> Grid:
    rows = _csv_rows(path, text)
    if not rows:
        raise UserError(f"{path}: the file is empty; write a line `image,tags` and one row for each photo")
    header = [nfc(cell) for cell in rows[0][1]]
    known = {cell.casefold() for cell in header} & (PHOTO_COLUMNS | TAG_COLUMNS)
    if is_photo_name(header[0]) and not known:
        if _is_box_row(header):
            header = ["image", "xmin", "ymin", "xmax", "ymax", "class"]
        elif len(header) > 2:
            raise UserError(f"{path}: its first line must name the columns, for example `image,tags`")
        else:
            header = ["image", "tags"]
    else:
        rows = rows[1:]
    if len(header) < 2:
        raise UserError(f"{path}: only one column; write `image,tags`, or one column for each class")
    return Grid(tuple(header), tuple(Line(f"{path.name}, line {number}", tuple(cells)) for number, cells in rows))


def _is_box_row(cells: Sequence[str]) -> bool:
    """Whether a row is photo, four numbers (or nothing) and a class, as RetinaNet's programs write boxes."""
    return len(cells) == 6 and all(re.fullmatch(r"-?\d*\.?\d*", cell) for cell in cells[1:5])


def _csv_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line number."""
    lines = io.StringIO(text, newline="").readlines()
    skipped = 0
    delimiter = ""
    while skipped < len(lines):
        remark = re.fullmatch(r"\"?sep=(.|\\t)\"?[;,\t]*\s*", lines[skipped], re.IGNORECASE)  # Excel's remark
        if remark:
            delimiter = remark[1].replace("\\t", "\t")
        elif lines[skipped].strip():
            break
        skipped += 1
    lines = lines[skipped:]
    if not lines:
        return []
    if not delimiter.strip(" ") or _columns(lines[0], delimiter) < 2:
        delimiter = guess_delimiter(lines[0])
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        return [(reader.line_num + skipped, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num + skipped}: {error}; check the quotes") from None


def guess_delimiter(first_line: str) -> str:
    """The first of tab, comma, semicolon that stands outside quotes in the line that names the columns; else `|`."""
    outside = re.sub(r'"[^"]*"', "", first_line)
    return next((sign for sign in outside if sign in "\t,;"), "|" if "|" in outside else ",")


def _columns(line: str, delimiter: str) -> int:
    return 1 + re.sub(r'"[^"]*"', "", line).count(delimiter)


# ------------------------------------------------------------------------------------------------------------ JSON


class Pairs(dict[str, Any]):
    """A JSON object that also keeps repeated keys, in `all`."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.all = pairs


def _from_json(path: Path, text: str) -> Grid:
    tree = parse_json(path, text)
    records = _records(tree)
    if records is not None:
        return _of_records(path, records)
    entries = tree.all if isinstance(tree, Pairs) else [(None, entry) for entry in tree]
    if not entries:
        raise UserError(f"{path}: names no photo; write {{photo: [tags]}} or [{{image: photo, tags: [...]}}]")
    lines = [Line(f"{path.name}, entry {number}", pair) for number, pair in enumerate(entries, start=1)]
    return Grid(("image", "tags"), tuple(lines), pairs=True)


def parse_json(path: Path, text: str) -> Any:
    """JSON, or one JSON object a line, objects as `Pairs`. Raises UserError in one line."""
    try:
        try:
            return json.loads(text, object_pairs_hook=Pairs)
        except json.JSONDecodeError as error:
            lines = _json_lines(text) if error.msg == "Extra data" else None
            if lines is None:
                raise
            return lines
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise UserError(f"{path}: not a tags file; it is nested too deeply or holds an endless number") from None


def _json_lines(text: str) -> list[Any] | None:
    """One value a line; None where a line is not JSON by itself."""
    try:
        return [json.loads(line, object_pairs_hook=Pairs) for line in text.splitlines() if line.strip()]
    except json.JSONDecodeError:
        return None


def _records(tree: Any) -> list[Any] | None:
    """The list of rows in JSON data, also within a wrapper or as pandas writes tables; None: {photo: tags}."""
    if isinstance(tree, list):
        return tree
    lowered = {key.casefold(): value for key, value in tree.items()}
    named = [lowered[name] for name in lowered if name in PHOTO_COLUMNS]
    if any(isinstance(name, str) for name in named) and set(lowered) & TAG_COLUMNS:  # one line of JSON lines
        return [tree]
    if isinstance(lowered.get("columns"), list) and isinstance(lowered.get("data"), list):  # pandas, orient="split"
        names = [str(name) for name in lowered["columns"]]
        return [Pairs(list(zip(names, row, strict=False))) if isinstance(row, list) else row for row in lowered["data"]]
    if (set(lowered) & PHOTO_COLUMNS) and tree and all(isinstance(value, dict) for value in tree.values()):
        keys = list(dict.fromkeys(key for column in tree.values() for key in column))  # pandas, orient="columns"
        return [Pairs([(name, column.get(key)) for name, column in tree.items()]) for key in keys]
    values = list(tree.values())
    if values and all(isinstance(value, Pairs) and _names_photo(value) for value in values):  # orient="index"
        return values
    lists = [
        value for value in values if isinstance(value, list) and value and all(isinstance(x, Pairs) for x in value)
    ]
    if len(lists) == 1 and all(_names_photo(record) for record in lists[0][:20]):
        return list(lists[0])
    nested = [
        [(photo, value[key]) for key in value if key.casefold() in TAG_COLUMNS]
        for photo, value in getattr(tree, "all", [])
        if isinstance(value, Pairs)
    ]
    if nested and len(nested) == len(tree) and all(len(fields) == 1 for fields in nested):  # {photo: {tags: [...]}}
        return [Pairs([("image", fields[0][0]), ("tags", fields[0][1])]) for fields in nested]
    return None


def _names_photo(record: Pairs) -> bool:
    return any(key.casefold() in PHOTO_COLUMNS for key in record)


def _alike(record: Any) -> Any:
    """A row whose photo and tags are in fields of names of its own, as `image` and `tags`."""
    if not isinstance(record, Pairs):
        return record
    photo = next((value for key, value in record.items() if key.casefold() in PHOTO_COLUMNS), None)
    return Pairs(
        [("image", photo), *(("tags", value) for key, value in record.items() if key.casefold() in TAG_COLUMNS)]
    )


def _of_records(path: Path, records: Sequence[Any]) -> Grid:
    """A grid of objects; its columns are all their fields. Raises UserError."""
    rows = [record for record in records if isinstance(record, Pairs)]
    kinds = [
        [{key for key in record if key.casefold() in names} for record in rows if _names_photo(record)]
        for names in (PHOTO_COLUMNS, TAG_COLUMNS)
    ]
    if any(keys and all(keys) and not set.intersection(*keys) for keys in kinds):
        records = [_alike(record) for record in records]
    columns = tuple(dict.fromkeys(nfc(key) for key in _keys(records)))
    if not all(map(is_utf8, columns)):
        raise UserError(f"{path}: a field's name holds half a character; write it again")
    lines = []
    for number, record in enumerate(records, start=1):
        fields = {nfc(key): value for key, value in record.items()} if isinstance(record, Pairs) else {}
        lines.append(Line(f"{path.name}, entry {number}", tuple(fields.get(name) for name in columns)))
    if not lines:
        raise UserError(f"{path}: names no photo; write {{photo: [tags]}} or [{{image: photo, tags: [...]}}]")
    return Grid(columns, tuple(lines))


def _keys(records: Sequence[Any]) -> Iterator[str]:
    for record in records:
        if isinstance(record, Pairs):
            yield from record
