"""Class lists: names, and the word that stands for each class in a text."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from semples.core.errors import UserError
from semples.core.plain import has_control, short
from semples.data.text import nfc, read_text

MAX_CLASSES = 254  # labels are bytes: 0 background, 255 ignore


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset in order; class k (0-based) is label value k + 1.

    `prompts` holds the word that stands for each class in a text ("player" for person); empty: the names themselves.
    Raises UserError for an empty list, more than 254 classes, an empty or a repeated name, and for a
    class called background, which is what is left where no class is.
    """

    names: tuple[str, ...]
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompts:
            object.__setattr__(self, "prompts", self.names)
        if not self.names:
            raise UserError("the class list is empty; name at least one class")
        if len(self.names) > MAX_CLASSES:
            raise UserError(f"{len(self.names)} classes are too many; labels are bytes, {MAX_CLASSES} classes fit")
        if len(self.prompts) != len(self.names):
            raise UserError(f"{len(self.names)} classes but {len(self.prompts)} prompt words; give one for each")
        if not all(map(str.strip, (*self.names, *self.prompts))):
            raise UserError("the class list holds an empty name; remove it")
        odd = next((name for name in (*self.names, *self.prompts) if has_control(name)), None)
        if odd is not None:
            raise UserError(f"the class list holds {short(odd, limit=60)}, with a control sign in it; write it without")
        seen: set[str] = set()
        for name in self.names:
            if name.casefold() == "background":
                raise UserError(
                    f"a class is called {name!r}; background is what carries no tag: leave it out, or rename it"
                )
            if name in seen:
                raise UserError(f"the class list names {name!r} twice; remove one")
            seen.add(name)

    def __len__(self) -> int:
        return len(self.names)


def class_list(path: Path) -> ClassList:
    """Read a class list: `name` or `name,prompt word` on each line; blank lines are skipped. Raises UserError."""
    names, prompts = [], []
    try:
        rows = list(csv.reader(read_text(path).splitlines(), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: {error}; write `name` or `name,prompt word` on each line") from None
    for number, row in enumerate(rows, start=1):
        cells = [nfc(cell) for cell in row]
        if not any(cells):
            continue
        if len(cells) > 2 or not cells[0]:
            raise UserError(f"{path}, line {number}: write `name` or `name,prompt word`")
        names.append(cells[0])
        prompts.append(cells[-1] or cells[0])
    try:
        return ClassList(tuple(names), tuple(prompts))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


# Prompt words: SemPLeS writes chosen words where VOC's identifiers are not plain English or do not suit CLIP.
VOC_CLASSES = ClassList(
    names=(
        "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    prompts=(
        "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "dining table", "dog", "horse", "motorbike", "player", "potted plant", "sheep", "sofa", "train", "tv monitor",
    ),
)  # fmt: skip
