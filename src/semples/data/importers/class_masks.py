"""Masks with a list of their classes, and no other annotations: labelme2voc, CVAT's and Datumaro's masks."""

from __future__ import annotations

import csv
import posixpath
from collections import defaultdict
from pathlib import Path

import numpy as np

from semples.core.errors import UserError
from semples.data.importers.annotations import NAMES, Annotations, Entry, MaskFile, Thing
from semples.data.importers.base import Importer, Source
from semples.data.importers.label_lists import LabelList, find_list
from semples.data.names import PhotoFinder, stem
from semples.data.photos import PhotoError, read_colours, read_mask
from semples.data.problem import Problem
from semples.data.text import read_text

IGNORE = 255


class ClassMasks(Importer):
    """Masks beside photos, and class_names.txt, labelmap.txt or the like: tags are the classes that a mask shows."""

    about = "masks with a list of their classes (class_names.txt, labelmap.txt)"

    def recognises(self, source: Source) -> bool:
        return source.path.is_dir() and bool(source.masks[1]) and find_list(source.root) is not None

    def read(self, source: Source) -> Annotations:
        listed = find_list(source.root)
        folder = _folder(source)
        if listed is None or folder is None:
            raise UserError(f"{source.path}: no folder of masks with the names of photos and a list of their classes")
        root, every = source.masks
        masks = [path for path in every if path.startswith(f"{folder}/")]
        told = told_photos(source.root / NAMES)
        values: dict[str, frozenset[int]] = {}
        problems: list[Problem] = []
        for path in masks:
            try:
                values[path] = _values(root / path, listed)
            except PhotoError as reason:
                problems.append(Problem(path, f"not read: {str(reason).split(': ', 1)[-1]}"))
        names = _names(source, listed, values, folder)
        ignored = listed.ignored if listed.colours else frozenset({IGNORE})
        entries = []
        for path in masks:
            photo = stem(path.removeprefix(f"{folder}/"))
            photo = told.get(photo, photo)
            if path not in values:
                entries.append(Entry(path, photo, fault="its mask is not read"))
                continue
            unknown = sorted(value for value in values[path] if value not in names and value not in ignored)
            fault = f"its mask holds the value {_told(unknown[0], listed)}, which has no class" if unknown else ""
            shown = tuple(Thing(names[value], whole=True) for value in sorted(values[path]) if names.get(value))
            mask = MaskFile(root / path, "colour" if listed.colours else "index", names, ignored)
            entries.append(Entry(path, photo, shown, fault=fault, mask=mask))
        classes = tuple(dict.fromkeys(name for name in names.values() if name))
        how = "colours" if listed.colours else "order"
        notes = (f"tags are the classes of the masks in {folder}/, by the {how} of {listed.path.name}",)
        return Annotations(classes, tuple(entries), tuple(problems), notes)


def _folder(source: Source) -> str | None:
    """The folder whose masks have the names of most photos."""
    folders: dict[str, int] = defaultdict(int)
    finder = PhotoFinder(source.photos)
    told = told_photos(source.root / NAMES)
    for path in source.masks[1]:
        if posixpath.splitext(path)[1].casefold() in (".png", ".bmp", ".tif", ".tiff", ".gif"):
            name = stem(posixpath.basename(path))
            folders[path.split("/")[0]] += finder.match(told.get(name, name)).path is not None
    usable = {folder: count for folder, count in folders.items() if count and "object" not in folder.casefold()}
    return max(usable, key=lambda folder: usable[folder], default=None)


def _values(path: Path, listed: LabelList) -> frozenset[int]:
    if not listed.colours:
        return frozenset(map(int, np.unique(read_mask(path))))
    colours = read_colours(path).astype(np.int64) @ np.array([1, 256, 65536])
    return frozenset(map(int, np.unique(colours)))


def _names(source: Source, listed: LabelList, values: dict[str, frozenset[int]], folder: str) -> dict[int, str]:
    """Classes by value, "" for background. Raises UserError where a list may count from 0 or from 1."""
    if listed.colours:
        return dict(listed.colours)
    if listed.sure:
        return dict(listed.names)
    if listed.path.name == "classes.txt" and folder.startswith("SegmentationClass"):  # VOC: 0 is background
        return {0: "", **listed.names}
    used = {value for seen in values.values() for value in seen} - {0, IGNORE}
    if used and max(used) == max(listed.names):
        return {0: "", **listed.names}
    raise UserError(
        f"{listed.path}: whether its first name has the value 0 or 1 in the masks is not told; write `background` as "
        "the first line if 0 is background"
    )


def told_photos(path: Path) -> dict[str, str]:
    """The photo that each mask's name stands for, as `semples export` tells it (`name,id`)."""
    if not path.is_file():
        return {}
    rows = list(csv.reader(read_text(path).splitlines()))
    return {row[0]: row[1] for row in rows[1:] if len(row) == 2}


def _told(value: int, listed: LabelList) -> str:
    if not listed.colours:
        return str(value)
    return f"({value & 255}, {value >> 8 & 255}, {value >> 16})"
