"""Darwin (V7): a JSON file for each photo, version 1 or 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semples.data.importers.annotations import Annotations, Entry, Thing, clean, records, size_of
from semples.data.importers.base import Importer, Source
from semples.data.importers.geometry import ellipse, polygon
from semples.data.problem import Problem

NO_OUTLINE = ("bounding_box", "line", "keypoint", "skeleton", "cuboid", "simple_table", "string", "graph")


class Darwin(Importer):
    """V7 Darwin's JSON: polygons and ellipses are outlines, tags are tags of the photo."""

    about = "V7 Darwin's JSON files, one a photo"

    def recognises(self, source: Source) -> bool:
        return any(is_darwin(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        problems = list(source.broken)
        entries = []
        for path, tree in source.trees:
            if is_darwin(tree):
                entries.append(_entry(source, path, tree))
            else:
                problems.append(Problem(source.told(path), "not read: not Darwin's"))
        return Annotations((), tuple(entries), tuple(problems))


def is_darwin(tree: Any) -> bool:
    """Whether JSON data are Darwin's: one photo under `item` or `image`, and a list of annotations."""
    if not isinstance(tree, dict) or not isinstance(tree.get("annotations"), list):
        return False
    item, image = tree.get("item"), tree.get("image")
    return (isinstance(item, dict) and "name" in item) or (isinstance(image, dict) and "filename" in image)


def _entry(source: Source, path: Path, tree: dict[str, Any]) -> Entry:
    if isinstance(tree.get("item"), dict):
        item = tree["item"]
        slot = next(iter(records(item.get("slots"))), {})
        name, folder, size = item.get("name"), item.get("path"), size_of(slot.get("width"), slot.get("height"))
    else:
        image = tree["image"]
        name = image.get("original_filename") or image.get("filename")
        folder, size = image.get("path"), size_of(image.get("width"), image.get("height"))
    name = name if isinstance(name, str) and name.strip() else path.stem
    below = folder.strip("/") + "/" if isinstance(folder, str) and folder.strip("/") else ""
    things: list[Thing] = []
    fault = ""
    for entry in records(tree["annotations"]):
        label = clean(entry.get("name"))
        if not label:
            fault = "an annotation on it has no name"
        elif "tag" in entry:
            things.append(Thing(label, whole=True))
        else:
            things.append(Thing(label, _outline(entry)))
    return Entry(source.told(path), below + name, tuple(things), size, (name, path.stem), fault)


def _outline(entry: dict[str, Any]) -> Any:
    shape = entry.get("polygon") or entry.get("complex_polygon")
    if isinstance(shape, dict):
        told = shape.get("paths")
        if told is None:
            path, more = shape.get("path"), shape.get("additional_paths")
            nested = isinstance(path, list) and path and isinstance(path[0], list)
            told = [*(path if isinstance(path, list) and nested else [path]), *(more if isinstance(more, list) else [])]
        flat = [piece for piece in map(polygon, told if isinstance(told, list) else []) if piece is not None]
        return flat or None
    round_ = entry.get("ellipse")
    if isinstance(round_, dict) and isinstance(round_.get("center"), dict) and isinstance(round_.get("radius"), dict):
        middle, radius = round_["center"], round_["radius"]
        flat_ellipse = ellipse(middle.get("x"), middle.get("y"), radius.get("x"), radius.get("y"))
        return None if flat_ellipse is None else [flat_ellipse]
    return None
