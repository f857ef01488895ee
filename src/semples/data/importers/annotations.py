"""What annotation files of any program say: photos, the things on them, outlines where there are any."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from semples.data.problem import Problem
from semples.data.text import one_line


@dataclass(frozen=True)
class Thing:
    """One thing on a photo: its class and, where known, its outline.

    An outline is polygons or a run-length code, as COCO has them, or an object with `inside(size)`
    (`outlines.Drawable`); a box is none. `whole` marks a tag of the photo, which needs no outline if another thing of
    that class has one. `unit` tells what polygons are measured in: None pixels, else that value is the photo's full
    width or height (1 or 100).
    """

    name: str
    outline: Any = None
    unit: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class MaskFile:
    """A photo's mask as another program wrote it, and the classes of its values.

    `kind`: `index` (palette or grey values), `colour` (red + 256 green + 65536 blue, as panoptic ids are).
    `names` maps a value to its class, or to "" for background; `ignored` values are not scored.
    """

    path: Path
    kind: Literal["index", "colour"]
    names: Mapping[int, str]
    ignored: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Entry:
    """The things on one photo. `where` it is told, the `photo` as written there, `size` (width, height) if told.

    `also` are other names to look for where there is no photo of that name. `fault`: why the things are not all known;
    the photo is then set aside, since its tags would be wrong. `unseen`: because nobody has annotated it yet.
    """

    where: str
    photo: str
    things: tuple[Thing, ...] = ()
    size: tuple[int, int] | None = None
    also: tuple[str, ...] = ()
    fault: str = ""
    mask: MaskFile | None = None
    unseen: bool = False


@dataclass(frozen=True)
class Annotations:
    """What annotation files say.

    `classes` in their order where they have one; empty: no order of their own. `problems` are things that are not used
    or say nothing; `notes` tell how files were understood.
    """

    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = field(default=())


NAMES = "names.csv"  # beside what `semples export` wrote: which photo each name stands for (`name,id`)
MAX_NUMBER = 1_000_000  # a larger number is no class's name, but a slip


def clean(name: Any) -> str:
    """A class name on one line, single blanks, composed accents; empty for what is no name.

    Small whole numbers become text; a name with half a character is none.
    """
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        return ""
    if not isinstance(name, str):
        number = whole(name)
        return str(number) if number is not None and 0 <= number < MAX_NUMBER else ""
    return one_line(name)


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) where both are whole numbers above 0; text and floats count where they stand for such."""
    sides = (whole(width), whole(height))
    return (sides[0], sides[1]) if sides[0] and sides[1] and min(sides[0], sides[1]) > 0 else None


def whole(value: Any) -> int | None:
    """The whole number that a number or text stands for (7, 7.0, "7", "7.0"); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if abs(value) < 2**53 and value == int(value) else None
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,18}(\.0*)?\s*", value):
        return int(value.split(".")[0])
    return None


def records(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; empty where it is none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def some(names: list[str], limit: int = 5) -> str:
    """The first of some names, and that there are more."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
