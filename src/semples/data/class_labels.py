"""`cls_labels.npy`: tags as weakly supervised programs publish them, {photo: (K,) numbers, above 0 where it is tagged}.

Photos are named in many ways: `2007_000032`, `2007_000032.jpg`, `JPEGImages/2007_000032.jpg`, the number 2007000032
(irn), COCO's number 9 for `COCO_train2014_000000000009`. A number stands for the photo whose digits it is: all digits
of the name in a row, or the last of its numbers. Where two photos could be meant, it stands for none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.safeload import load_npy
from semples.data.classes import VOC_CLASSES, ClassList
from semples.data.coco_classes import COCO_CLASSES, PUBLISHED_COCO_CLASSES
from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.text import nfc

BY_WIDTH = {len(known): known for known in (VOC_CLASSES, COCO_CLASSES, PUBLISHED_COCO_CLASSES)}


@dataclass(frozen=True)
class ClassLabels:
    """The rows of a file by the photo's path without extension, by its last part where that tells them apart, and by
    number; `unclear`: numbers that more than one photo could have."""

    path: Path
    names: Mapping[str, Any]
    numbers: Mapping[int, Any]
    unclear: frozenset[int]

    @classmethod
    def read(cls, path: Path, photos: Iterable[str]) -> ClassLabels:
        """Read a file; `photos` are the ids of all photos there are, by which unclear numbers are found."""
        table = load_npy(path)
        if not isinstance(table, dict) or not table:
            raise UserError(f"{path}: not a dictionary from photo names to tags")
        whole: dict[str, Any] = {}
        short: dict[str, list[Any]] = {}
        for key, row in table.items():
            name = plain_name(_text(key))
            if name in whole and not np.array_equal(whole[name], row):
                raise UserError(f"{path}: names the photo {name[:80]!r} twice, with other tags; remove one")
            whole[name] = row
            short.setdefault(PurePosixPath(name).name, []).append(row)
        alone = {name: rows[0] for name, rows in short.items() if all(np.array_equal(rows[0], row) for row in rows)}
        names = alone | whole
        numbers = {int(name): row for name, row in alone.items() if name.isdecimal()}
        meant = Counter(number for photo in set(photos) for number in set(numbers_of(photo)))
        return cls(path, names, numbers, frozenset(number for number, count in meant.items() if count > 1))

    @property
    def width(self) -> int:
        """How many numbers a row has. Raises UserError where the first row is none of numbers."""
        key, row = next(iter(self.names.items()))
        return len(self._row(key, row))

    def classes(self) -> ClassList | None:
        """VOC's 20 or COCO's 80 or 90 classes, by the number of numbers in a row; None for another."""
        return BY_WIDTH.get(self.width)

    def of(self, photo: str, *, width: int) -> NDArray[np.bool_] | None:
        """Which classes a photo shows, bool (width,); None where the file does not name it. Raises UserError."""
        name = PurePosixPath(photo).name
        row = self.names.get(photo, self.names.get(name))
        if row is None:
            known = (number for number in numbers_of(photo) if number in self.numbers and number not in self.unclear)
            row = next((self.numbers[number] for number in known), None)
        if row is None:
            return None
        values = self._row(photo, row)
        if len(values) != width:
            background = "; background is no class: leave its column out" if len(values) == width + 1 else ""
            raise UserError(
                f"{self.path}: {photo}: {len(values)} numbers; expected {width} numbers, one for each class of the "
                f"list{background}"
            )
        return values > 0

    def example(self) -> str:
        """A key of the file, for messages."""
        return next(iter(self.names))[:80]

    def _row(self, photo: str, row: Any) -> NDArray[Any]:
        values = np.asarray(row) if isinstance(row, np.ndarray | list | tuple) else np.zeros((), object)
        if values.ndim == 2 and values.shape[0] == 1:
            values = values[0]
        if values.ndim != 1 or values.dtype.kind not in "biuf":
            raise UserError(f"{self.path}: {photo}: its tags are not a row of numbers, one for each class of the list")
        return values


def _text(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def plain_name(name: str) -> str:
    """A photo's path, posix style, without a photo's extension: `JPEGImages/2007_000032`."""
    path = nfc(name).replace("\\", "/").lstrip("/")
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix}".casefold() in PHOTO_SUFFIXES else path


def numbers_of(photo: str) -> tuple[int, ...]:
    """The numbers that may stand for a photo, the likelier first."""
    digits = re.findall(r"[0-9]+", PurePosixPath(photo).name)
    return (int("".join(digits)), int(digits[-1])) if digits else ()
