"""Single cells of tables: tags, yes and no, missing values, as spreadsheets and scripts write them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from semples.core.plain import is_utf8
from semples.data.text import nfc

YES = frozenset({"1", "1.0", "1,0", "yes", "y", "true", "t", "x", "✓", "✔"})
NO = frozenset({"", "0", "0.0", "0,0", "no", "n", "false", "f", "-1", "-1.0", "-1,0"})
# As scripts write them, in their own letters: "Na" or "na" may be a class.
MISSING = frozenset(
    {
        "nan",
        "NaN",
        "NAN",
        "None",
        "none",
        "NONE",
        "null",
        "NULL",
        "Null",
        "NA",
        "N/A",
        "n/a",
        "#N/A",
        "#NA",
        "<NA>",
        "NaT",
    }
)

_QUOTED = re.compile(
    r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,;'"\[\](){}:][^,;'"\[\](){}:]*)(?=\s*(?:[,;\])}:]|$))"""
)
_LIST = re.compile(r"(?:array|set|frozenset|list|tuple|Index)?\s*[\[({].*[\])}]", re.DOTALL)
_UNMARKED = re.compile(r"[\[({]\s*[\])}]")


class NoTags(Exception):
    """A cell says nothing of its photo's tags; the message is the reason."""


def split_tags(text: str) -> tuple[str, ...]:
    """Tag names of one cell: separated by `;` `|` `,` or lines, without blanks and repeats, in the order written.

    A list as Python, numpy or JSON writes it (`['boat', 'dog']`) gives its items; missing values (nan, None) are none.
    """
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        written = _as_json(stripped)
        if written is not None:
            return written
    if _is_list(stripped):
        return _present(_items(stripped))
    return _present(re.split(r"[;|,\r\n]", stripped))


def tags_of(cell: Any, names: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """Tag names of a cell of any kind: text, a list of texts, a table of yes and no, an object with categories.

    `names` are the classes of numbers. Raises NoTags for a missing value and for a cell of another kind.
    """
    if isinstance(cell, str):
        if is_missing(cell):
            raise NoTags(f"its tags are missing ({cell.strip()}); leave the cell empty where the photo shows no class")
        if names and re.fullmatch(r"\s*\d+\s*", cell):
            return tags_of(int(cell), names)
        return split_tags(cell)
    if isinstance(cell, bool) or cell is None or (isinstance(cell, float) and cell != int_or_nan(cell)):
        raise NoTags(f"its tags are missing ({cell}): tags must be a list of names, [] where the photo shows no class")
    if isinstance(cell, int | float):
        if names is None:
            return (str(cell),)
        if int(cell) not in names:
            raise NoTags(f"class {cell} has no name")
        return (names[int(cell)],)
    if isinstance(cell, list):
        return _of_list(cell, names)
    if isinstance(cell, Mapping):
        return _of_mapping(cell, names)
    raise NoTags("tags must be a list of names")


def _of_list(cell: list[Any], names: Mapping[int, str] | None) -> tuple[str, ...]:
    names_told: list[str] = []
    for item in cell:
        if isinstance(item, Mapping):
            names_told += _of_region(item)
        elif isinstance(item, str):
            names_told.append(item)
        elif type(item) is int and names is not None:
            names_told += tags_of(item, names)
        else:
            raise NoTags("tags must be a list of names")
    return _present(names_told)


def _of_region(item: Mapping[str, Any]) -> list[str]:
    """The names of one thing in a list: under name, label or class, or as Label Studio has them, `rectanglelabels`."""
    for key, value in item.items():
        if str(key).endswith(("labels", "choices")) and isinstance(value, list) and all(map(_is_text, value)):
            return list(value)
    label = next((item[key] for key in ("name", "label", "class", "category", "tag") if key in item), None)
    if not isinstance(label, str):
        raise NoTags("tags must be a list of names")
    return [label]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _of_mapping(cell: Mapping[str, Any], names: Mapping[int, str] | None) -> tuple[str, ...]:
    fields = {str(key).casefold(): value for key, value in cell.items()}
    for key in ("categories", "category", "labels", "label", "classes", "class", "tags", "names"):
        if key in fields:
            return tags_of(fields[key], names)
    if cell and all(isinstance(value, bool) or (type(value) is int and value in (0, 1)) for value in cell.values()):
        return _present(str(name) for name, value in cell.items() if value)
    raise NoTags("tags must be a list of names")


def int_or_nan(value: float) -> float:
    """The whole number that a float stands for, else nan (which equals nothing)."""
    return float(int(value)) if abs(value) < 1e15 and value == int(value) else float("nan")


def is_missing(text: str) -> bool:
    """Whether a cell holds a word for a missing value, as scripts write it: nan, None, NULL, N/A."""
    return text.strip() in MISSING


def flag(cell: Any) -> bool | None:
    """Yes or no; None for a cell that says neither. A missing value is no."""
    if isinstance(cell, bool):
        return cell
    if cell is None:
        return False
    if isinstance(cell, int | float):
        return True if cell == 1 else False if cell in (0, -1) or math.isnan(cell) else None
    if isinstance(cell, str):
        text = cell.strip().casefold()
        return True if text in YES else False if text in NO or is_missing(cell) else None
    return None


def is_number(cell: Any) -> bool:
    """Whether a cell is a whole number, as text or not."""
    return (type(cell) is int) or (isinstance(cell, str) and bool(re.fullmatch(r"\s*\d+(\.0)?\s*", cell)))


def _present(names: Iterable[str]) -> tuple[str, ...]:
    cleaned = list(map(nfc, names))
    if not all(map(is_utf8, cleaned)):
        raise NoTags("a tag holds half a character, which no text can")
    return tuple(dict.fromkeys(name for name in cleaned if name and not is_missing(name)))


def _as_json(text: str) -> tuple[str, ...] | None:
    """Tags of a list or an object that is valid JSON; None where it is none, or is not made of names."""
    try:
        tree = json.loads(text)
        return tags_of(tree)
    except (ValueError, RecursionError, NoTags):
        return None


def _is_list(text: str) -> bool:
    if not _LIST.fullmatch(text) or len(text) > 100_000:
        return False
    marked = text[0] == "[" or text[0] not in "({" or "'" in text or '"' in text  # (wild) cat, {x}: names
    return marked or bool(_UNMARKED.fullmatch(text))


def _items(text: str) -> list[str]:
    inner = text[min(text.find(sign) for sign in "[({" if sign in text) + 1 :]
    inner = re.sub(r"dtype\s*=\s*\S+", "", inner)
    items = []
    for single, double, bare in _QUOTED.findall(inner):
        quoted = single or double
        items.append(re.sub(r"\\(.)", r"\1", quoted) if quoted else bare)
    return items
