"""Label maps as annotations: trees of VOC with a class list, and CVAT's "Segmentation mask 1.1".

SegmentationClass/      NAME.png: palette or grey values (0 background, class k as k + 1, 255 not labelled), or
                        colours that labelmap.txt names
labelmap.txt            `name:red,green,blue:parts:actions` a line; or
classes.txt             the classes in the order of the values
names.csv               optional: which photo a name stands for (`name,id`)
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semples.core.errors import UserError
from semples.data.classes import class_list
from semples.data.dataset import IGNORE, Problem
from semples.data.importers.annotations import Annotations, Entry, Thing, clean
from semples.data.outlines import OutlineError
from semples.data.text import read_text

MASKS, LABELMAP, CLASSES, NAMES = "SegmentationClass", "labelmap.txt", "classes.txt", "names.csv"
NO_CLASS = ("background", "void", "ignore")  # what labelmap.txt names beside the classes

Colours = dict[tuple[int, int, int], int]  # label value by colour


def is_mask_tree(root: Path) -> bool:
    """Whether the folder holds label maps and tells what their values mean."""
    return (root / MASKS).is_dir() and ((root / LABELMAP).is_file() or (root / CLASSES).is_file())


def read_masks(root: Path) -> Annotations:
    """A photo for each label map; where the map has a value, the photo has that class. Raises UserError."""
    colours: Colours | None = None
    if (root / LABELMAP).is_file():
        names, colours = _labelmap(root / LABELMAP)
    else:
        names = class_list(root / CLASSES).names
    ids = _ids(root / NAMES)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for path in sorted((root / MASKS).rglob("*.png")):
        name = path.relative_to(root / MASKS).with_suffix("").as_posix()
        try:
            labels = _read(path, colours, len(names))
        except OutlineError as reason:
            problems.append(Problem(f"{MASKS}/{name}.png", str(reason)))
            continue
        things = tuple(Thing(names[value - 1], whole=True) for value in np.unique(labels) if 0 < value < IGNORE)
        size = (labels.shape[1], labels.shape[0])
        again = _reader(path, colours, len(names))
        entries.append(Entry(f"{MASKS}/{name}.png", ids.get(name, name), things, size, labels=again))
    return Annotations(names, tuple(entries), tuple(problems))


def _reader(path: Path, colours: Colours | None, count: int) -> Callable[[], NDArray[np.uint8]]:
    return lambda: _read(path, colours, count)


def _labelmap(path: Path) -> tuple[tuple[str, ...], Colours]:
    names: list[str] = []
    colours: Colours = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split(":")
        try:
            red, green, blue = (int(value) for value in cells[1].split(","))
        except (IndexError, ValueError):
            raise UserError(f"{path}, line {number}: write name:red,green,blue:parts:actions") from None
        name = clean(cells[0])
        if name.casefold() in NO_CLASS:
            colours[red, green, blue] = 0 if name.casefold() == NO_CLASS[0] else IGNORE
            continue
        names.append(name)
        colours[red, green, blue] = len(names)
    if not names or not all(names) or len(set(names)) < len(names):
        raise UserError(f"{path}: its class names must be different and not empty")
    return tuple(names), colours


def _ids(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    rows = list(csv.reader(read_text(path).splitlines()))
    return {row[0]: row[1] for row in rows[1:] if len(row) == 2}


def _read(path: Path, colours: Colours | None, count: int) -> NDArray[np.uint8]:
    """Labels uint8 (H,W). Raises OutlineError."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > 100_000_000:
                raise OutlineError("larger than 100 megapixels")
            values = np.array(image.convert("RGB") if colours is not None else image)
            mode = image.mode
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise OutlineError(f"not readable: {' '.join(str(error).split())[:120]}") from None
    if colours is None:
        if mode not in ("P", "L", "1"):
            raise OutlineError(f"a picture of mode {mode} holds no class values; a {LABELMAP} must tell its colours")
        labels = values.astype(np.uint8)
        wrong = labels[(labels > count) & (labels != IGNORE)]
        if wrong.size:
            raise OutlineError(f"holds the value {wrong[0]}, but there are {count} classes")
        return labels
    packed = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    known = {(red << 16) + (green << 8) + blue: label for (red, green, blue), label in colours.items()}
    found, place = np.unique(packed, return_inverse=True)
    strange = [colour for colour in found.tolist() if colour not in known]
    if strange:
        raise OutlineError(f"holds the colour #{strange[0]:06x}, which {LABELMAP} does not name")
    table = np.array([known[colour] for colour in found.tolist()], np.uint8)
    return table[place].reshape(packed.shape)
