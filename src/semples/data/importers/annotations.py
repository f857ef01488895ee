"""What annotation files of any program say: photos, the things on them, outlines where there are any."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.data.dataset import Problem
from semples.data.text import nfc

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Thing:
    """One thing on a photo: its class and, where known, its outline (polygons or run-length code, as COCO has them).

    `whole` marks a tag of the photo, which needs no outline if another thing of that class has one. `unit` tells what
    polygons are measured in: None pixels, else that value is the photo's full width or height (1 or 100).
    """

    name: str
    outline: Any = None
    unit: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Entry:
    """The things on one photo. `where` it is told, the `photo` as written there, `size` (width, height) if told.

    `also` are other names to look for where there is no photo of that name. `labels` gives the photo's label map, uint8
    (H, W) with class k of the annotations as k + 1, where there is one; it raises OutlineError.
    """

    where: str
    photo: str
    things: tuple[Thing, ...]
    size: tuple[int, int] | None = None
    also: tuple[str, ...] = ()
    labels: Callable[[], NDArray[np.uint8]] | None = None


@dataclass(frozen=True)
class Annotations:
    """What annotation files say. `classes` in their order where they have one; empty: no order of their own."""

    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()


def clean(name: Any) -> str:
    """A class name on one line, single blanks, composed accents; numbers become text."""
    text = str(name) if isinstance(name, str | int | float) else ""
    return nfc(" ".join(text.replace("\0", " ").replace("\ufeff", " ").split()))


def split_of(photo: str) -> str | None:
    """The list a photo belongs to by a folder of its path: train, val or test."""
    return next((SPLITS[part] for part in map(str.casefold, PurePosixPath(photo).parts[:-1]) if part in SPLITS), None)


def without_upload_mark(name: str) -> str:
    """A photo's own name: Label Studio puts eight characters and a dash before names of uploaded photos."""
    return re.sub(r"^[0-9a-f]{8}-", "", name)
