"""Lists of classes beside masks: labelmap.txt of CVAT, class_names.txt of LabelMe, classes.txt and the like."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semples.core.errors import UserError
from semples.data.importers.annotations import clean
from semples.data.slips import BACKGROUND
from semples.data.text import read_text

LISTS = ("labelmap.txt", "label_colors.txt", "class_dict.csv", "class_names.txt", "classes.txt", "labels.txt",
         "codes.txt", "obj.names")  # fmt: skip
NOT_SCORED = ("void", "ignore", "__ignore__")


@dataclass(frozen=True)
class LabelList:
    """Classes of values: by colour (red + 256 green + 65536 blue), or in an order. "" is background.

    `sure`: whether the order says which class has which value (it names background). `ignored`: colours not scored.
    """

    path: Path
    colours: Mapping[int, str] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    sure: bool = False
    ignored: frozenset[int] = frozenset()


def find_list(*folders: Path) -> LabelList | None:
    """The list of classes in one of the folders. Raises UserError where it makes no sense."""
    for folder in folders:
        for name in LISTS:
            path = folder / name
            if path.is_file():
                listed = _colours(path) or _order(path)
                if listed is not None:
                    return listed
    return None


def _colours(path: Path) -> LabelList | None:
    """`name:r,g,b:...` of CVAT, or `name,r,g,b` and `r g b name` of CamVid's kind; None where it has no colours."""
    colours: dict[int, str] = {}
    ignored: set[int] = set()
    for line in _lines(path):
        parted = re.fullmatch(r"(.*?)\s*[:,;\t ]\s*(\d+)\s*[,; \t]\s*(\d+)\s*[,; \t]\s*(\d+)\s*(:.*)?", line)
        leading = re.fullmatch(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(.+)", line)
        if parted is not None:
            name, values = parted[1], parted.group(2, 3, 4)
        elif leading is not None:
            name, values = leading[4], leading.group(1, 2, 3)
        elif colours or ":" in line or re.fullmatch(r"\s*name\s*,\s*r\s*,\s*g\s*,\s*b\s*", line, re.IGNORECASE):
            continue
        else:
            return None
        red, green, blue = map(int, values)
        if max(red, green, blue) > 255 or not clean(name):
            return None
        value = red + 256 * green + 65536 * blue
        if clean(name).casefold() in NOT_SCORED:
            ignored.add(value)
        else:
            colours[value] = _class(name)
    return LabelList(path, colours=colours, sure=True, ignored=frozenset(ignored)) if colours else None


def _order(path: Path) -> LabelList:
    names = [clean(next(csv.reader(io.StringIO(line)), [""])[0]) for line in _lines(path)]
    if names and names[0] == "__ignore__":
        names = names[1:]  # LabelMe: value -1, that is 255
    if names and not _class(names[0]):
        return LabelList(path, names=dict(enumerate(map(_class, names))), sure=True)
    named = {number: _class(name) for number, name in enumerate(names, start=1)}
    real = [name for name in named.values() if name]
    if not real or len(set(real)) < len(real):
        raise UserError(f"{path}: its class names must be different and not empty")
    return LabelList(path, names=named)


def _lines(path: Path) -> Iterator[str]:
    return (line.strip() for line in read_text(path).splitlines() if line.strip() and not line.lstrip().startswith("#"))


def _class(name: str) -> str:
    """A class's name; empty for a name of the background."""
    return "" if clean(name).casefold() in BACKGROUND else clean(name)
