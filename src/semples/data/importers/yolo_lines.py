"""Lines of YOLO's text files, and what the numbers after the class are: boxes, outlines, turned boxes or key points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semples.core.errors import UserError
from semples.data.text import read_text

SLACK = 0.02  # of the photo: how far a key point may lie outside its box
FEW = 3  # lines below which flat key points are not told from outlines


@dataclass(frozen=True)
class Line:
    """A line: its place in the file, the class's number (None: `wrong` says why), the numbers after it."""

    place: int
    number: int | None
    values: tuple[float, ...] = ()
    wrong: str = ""


@dataclass(frozen=True)
class Kind:
    """What the numbers of a whole set are; `note` says so where they are no boxes and no outlines."""

    outlines: bool
    note: str = ""

    def outline(self, line: Line) -> list[float] | None:
        """The corners of a line's outline; None where it has none."""
        return list(line.values) if self.outlines and _is_outline(line) else None


def read_lines(path: Path) -> list[Line]:
    """The lines of a file that are not blank; of a file that is no text one that says so."""
    try:
        text = read_text(path)
    except UserError as error:
        return [Line(0, None, (), str(error).removeprefix(f"{path}: "))]
    return [_line(place, line.split()) for place, line in enumerate(text.splitlines(), start=1) if line.split()]


def _line(place: int, cells: Sequence[str]) -> Line:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = []
    sound = bool(values) and all(map(math.isfinite, values)) and values[0] == int(values[0]) and values[0] >= 0
    if not sound or 1 < len(values) < 5:  # a class alone says what is there, and nothing of where
        return Line(place, None, (), "not `class x y width height`")
    return Line(place, int(values[0]), tuple(values[1:]))


def _is_outline(line: Line) -> bool:
    return len(line.values) >= 6 and len(line.values) % 2 == 0


def kind_of(lines: Sequence[Line], kpt_shape: tuple[int, int] | None) -> Kind:
    """What the numbers of all lines together are."""
    long = [line.values for line in lines if line.number is not None and len(line.values) > 5]
    if not long:
        return Kind(False)
    lengths = {len(values) for values in long}
    told = kpt_shape is not None and lengths <= {4 + kpt_shape[0] * kpt_shape[1], 5 + kpt_shape[0] * kpt_shape[1]}
    if told or _key_points(long, lengths):
        return Kind(False, "the lines hold key points after a box; they give tags, and no masks")
    if lengths == {8} or lengths == {9}:  # with a confidence
        return Kind(False, "every line holds four corners, a turned box; boxes give tags, and no masks")
    return Kind(True)


def _key_points(long: Sequence[tuple[float, ...]], lengths: set[int]) -> bool:
    """Whether lines of one length are boxes with key points inside: with visibilities of 0, 1, 2, or flat pairs."""
    if len(lengths) != 1:
        return False
    count = next(iter(lengths)) - 4
    if count >= 6 and count % 3 == 0 and all(set(values[6::3]) <= {0.0, 1.0, 2.0} for values in long):
        return all(_within(values, values[4::3], values[5::3], values[6::3]) for values in long)
    if count >= 6 and count % 2 == 0 and len(long) >= FEW:
        return all(_within(values, values[4::2], values[5::2], [2.0] * (count // 2)) for values in long)
    return False


def _within(box: Sequence[float], xs: Sequence[float], ys: Sequence[float], seen: Sequence[float]) -> bool:
    x, y, width, height = box[:4]
    return all(
        not visible or (abs(px - x) <= width / 2 + SLACK and abs(py - y) <= height / 2 + SLACK)
        for px, py, visible in zip(xs, ys, seen, strict=True)
    )
