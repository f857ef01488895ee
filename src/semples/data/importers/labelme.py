"""LabelMe: a JSON file for each photo."""

from __future__ import annotations

import base64
import binascii
import math
from pathlib import Path, PurePosixPath
from typing import Any

from semples.data.importers.annotations import Annotations, Entry, Thing, clean, size_of, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.bitmap import BitmapError, bitmap
from semples.data.importers.geometry import ellipse, number, polygon
from semples.data.problem import Problem

NO_CLASS = ("__ignore__", "_background_")


class LabelMe(Importer):
    """LabelMe's JSON: polygons, circles and masks are outlines; flags of a photo are its tags."""

    about = "LabelMe's JSON files, one a photo (shapes, or flags of the photo)"

    def recognises(self, source: Source) -> bool:
        return any(is_labelme(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        entries: list[Entry] = []
        problems = list(source.broken)
        flags: list[str] = []
        bare: list[str] = []
        for path, tree in source.trees:
            told = source.told(path)
            if not is_labelme(tree):
                problems.append(Problem(told, "not read: not LabelMe's"))
                continue
            entry = _entry(source, path, told, tree, flags)
            entries.append(entry)
            if not entry.things and not entry.fault:
                bare.append(entry.photo)
        broken = [Entry(problem.where, str(PurePosixPath(problem.where).with_suffix("")), fault="its file is not read")
                  for problem in source.broken]  # fmt: skip
        notes = (f"{len(bare)} files mark nothing on their photos ({some(bare)}): background only",) if bare else ()
        named = sorted({thing.name for entry in entries for thing in entry.things} | set(flags))
        return Annotations(tuple(named), (*entries, *broken), tuple(problems), notes)


def is_labelme(tree: Any) -> bool:
    """Whether JSON data are LabelMe's."""
    return (
        isinstance(tree, dict)
        and isinstance(tree.get("shapes"), list)
        and ("imagePath" in tree or "imageHeight" in tree or "flags" in tree)
    )


def _entry(source: Source, path: Path, told: str, tree: dict[str, Any], flags: list[str]) -> Entry:
    size = size_of(tree.get("imageWidth"), tree.get("imageHeight"))
    image = tree.get("imagePath")
    base = source.base_of(path)
    stem = base + path.stem
    names = [stem]
    if isinstance(image, str) and image.strip():
        told_name = PurePosixPath(image.replace("\\", "/"))
        same = told_name.stem == path.stem
        names = [base + told_name.name, *names] if same else [stem, base + told_name.name]
    things: list[Thing] = []
    fault = ""
    for shape in tree["shapes"]:
        name = clean(shape.get("label")) if isinstance(shape, dict) else ""
        if not name:
            fault = "a shape on it has no label"
        elif name not in NO_CLASS:
            things.append(Thing(name, _outline(shape, size)))
    told_flags = tree.get("flags")
    for flag, answer in told_flags.items() if isinstance(told_flags, dict) else ():
        if clean(flag):
            flags.append(clean(flag))
            if answer is True:
                things.append(Thing(clean(flag), whole=True))
    return Entry(told, names[0], tuple(things), size, tuple(names[1:]), fault)


def _outline(shape: dict[str, Any], size: tuple[int, int] | None) -> Any:
    """The outline of a shape; None for a rectangle, a line, a point, and what cannot be read."""
    points = shape.get("points")
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        flat = polygon(points)
        return None if flat is None else [flat]
    if kind == "circle" and isinstance(points, list) and len(points) == 2:
        middle, edge = points
        pairs = [number(value) for point in (middle, edge) if isinstance(point, list) for value in point]
        if len(pairs) != 4 or any(value is None for value in pairs):
            return None
        x, y, edge_x, edge_y = (value or 0.0 for value in pairs)
        radius = math.hypot(edge_x - x, edge_y - y)
        flat = ellipse(x, y, radius, radius)
        return None if flat is None else [flat]
    if (
        kind == "mask"
        and isinstance(shape.get("mask"), str)
        and size is not None
        and isinstance(points, list)
        and points
    ):
        corner = points[0]
        try:
            data = base64.b64decode(shape["mask"], validate=True)
            return bitmap(data, (number(corner[0]), number(corner[1])), size)
        except (binascii.Error, BitmapError, TypeError, IndexError, ValueError):
            return None
    return None
