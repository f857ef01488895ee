"""Supervisely: meta.json, and ann/PHOTO.json beside img/PHOTO for each photo."""

from __future__ import annotations

import base64
import binascii
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.data.importers.annotations import Annotations, Entry, Thing, clean, records, size_of
from semples.data.importers.base import Importer, Source
from semples.data.importers.bitmap import BitmapError, bitmap
from semples.data.importers.geometry import number, polygon
from semples.data.outlines import draw_polygons
from semples.data.problem import Problem

MAX_BYTES = 100_000_000
NO_OUTLINE = ("rectangle", "point", "line", "polyline", "graph", "cuboid", "keypoints")


class Supervisely(Importer):
    """Supervisely's projects: polygons with holes and bitmaps are outlines; tags of a photo are its tags."""

    about = "Supervisely's projects (meta.json, ann/, img/)"

    def recognises(self, source: Source) -> bool:
        return any(is_supervisely(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        classes: list[str] = []
        entries: list[Entry] = []
        problems = list(source.broken)
        for path, tree in source.trees:
            if path.name == "meta.json" and isinstance(tree, dict):
                classes += [clean(entry.get("title")) for entry in records(tree.get("classes"))]
            elif is_supervisely(tree):
                entries.append(_entry(source, path, tree))
            else:
                problems.append(Problem(source.told(path), "not read: not Supervisely's"))
        used = {thing.name for entry in entries for thing in entry.things}
        extra = sorted(used - set(classes)) if classes else []
        return Annotations(
            tuple(name for name in dict.fromkeys((*classes, *extra)) if name), tuple(entries), tuple(problems)
        )


def is_supervisely(tree: Any) -> bool:
    """Whether JSON data are of one photo of Supervisely."""
    if (
        not isinstance(tree, dict)
        or not isinstance(tree.get("objects"), list)
        or not isinstance(tree.get("size"), dict)
    ):
        return False
    return "tags" in tree or any("classTitle" in entry for entry in records(tree["objects"]))


def _entry(source: Source, path: Path, tree: dict[str, Any]) -> Entry:
    size = size_of(tree["size"].get("width"), tree["size"].get("height"))
    things: list[Thing] = []
    fault = ""
    for entry in records(tree["objects"]):
        name = clean(entry.get("classTitle"))
        if name:
            things.append(Thing(name, _outline(entry, size)))
        else:
            fault = "an object on it has no class"
    for tag in records(tree.get("tags")):
        if clean(tag.get("name")) and tag.get("value") in (None, True, "true", "yes"):
            things.append(Thing(clean(tag.get("name")), whole=True))
    folder = path.parent.parent if path.parent.name == "ann" else path.parent
    base = source.base_of(folder / "x")
    return Entry(source.told(path), f"{base}img/{path.stem}", tuple(things), size, (base + path.stem, path.stem), fault)


def _outline(entry: dict[str, Any], size: tuple[int, int] | None) -> Any:
    if entry.get("geometryType") in NO_OUTLINE:
        return None
    points, picture = entry.get("points"), entry.get("bitmap")
    if isinstance(picture, dict) and size is not None:
        corner = picture.get("origin")
        if not isinstance(corner, list) or len(corner) != 2 or not isinstance(picture.get("data"), str):
            return None
        try:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(base64.b64decode(picture["data"], validate=True), MAX_BYTES)
            return bitmap(data, (number(corner[0]), number(corner[1])), size)
        except (binascii.Error, zlib.error, BitmapError, ValueError):
            return None
    if isinstance(points, dict):
        outer = polygon(points.get("exterior"))
        inner = points.get("interior")
        holes = [flat for hole in (inner if isinstance(inner, list) else []) if (flat := polygon(hole)) is not None]
        if outer is not None:
            return HolePolygon(outer, holes) if holes else [outer]
    return None


class HolePolygon:
    """A polygon with holes (`outlines.Drawable`), in pixels."""

    def __init__(self, outer: list[float], holes: list[list[float]]) -> None:
        self.outer, self.holes = outer, holes

    def inside(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) bool. Raises OutlineError."""
        return draw_polygons([self.outer], size) & ~draw_polygons(self.holes, size)
