"""CVAT for images: one annotations.xml with polygons, masks, ellipses, boxes and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations, Entry, Thing, clean, size_of, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.geometry import ellipse, number, polygon
from semples.data.importers.xml import Node, XmlError, read_xml, root_tag
from semples.data.outlines import OutlineError

BOXES = ("box", "polyline", "points", "cuboid", "skeleton")
OUTLINES = ("polygon", "mask", "ellipse")


class CvatXml(Importer):
    """CVAT for images 1.1. What CVAT draws later, or with a higher z_order, lies on top."""

    about = "CVAT for images 1.1 (annotations.xml)"

    def recognises(self, source: Source) -> bool:
        return any(root_tag(path) == "annotations" for path in source.with_suffix(".xml"))

    def read(self, source: Source) -> Annotations:
        classes: list[str] = []
        entries: list[Entry] = []
        for path in source.with_suffix(".xml"):
            if root_tag(path) == "annotations":
                entries += _entries(source, path, classes)
        bare = [entry.photo for entry in entries if not entry.things and not entry.fault]
        if entries and len(bare) == len(entries):
            raise UserError(f"{source.path}: lists {len(bare)} photos, but holds no annotation of any")
        notes = (f"{len(bare)} photos are listed with nothing on them ({some(bare)}): background only",) if bare else ()
        return Annotations(tuple(dict.fromkeys(classes)), tuple(entries), (), notes)


def _entries(source: Source, path: Path, classes: list[str]) -> list[Entry]:
    try:
        tree = read_xml(path)
    except XmlError as reason:
        raise UserError(f"{path}: {reason}") from None
    images = tree.all("image")
    if not images and tree.all("track"):
        raise UserError(f"{path}: CVAT for video, which names no photos; export it as CVAT for images, or as COCO")
    for owner in (*tree.all("meta"), *(node for name in ("task", "project", "job") for node in tree.all("meta", name))):
        classes += [name for node in owner.all("labels", "label", "name") if (name := clean(node.text))]
    entries = []
    for place, image in enumerate(images, start=1):
        said = image.attributes
        size = size_of(said.get("width"), said.get("height"))
        drawn: list[tuple[float, Thing]] = []
        fault = ""
        for node in image.children:
            label = clean(node.attributes.get("label"))
            if node.tag not in (*BOXES, *OUTLINES, "tag"):
                continue
            if not label:
                fault = f"a {node.tag} on it has no label"
                continue
            thing = Thing(label, whole=True) if node.tag == "tag" else Thing(label, _outline(node, size))
            drawn.append((number(node.attributes.get("z_order")) or 0.0, thing))
        drawn.reverse()
        things = tuple(thing for _, thing in sorted(drawn, key=lambda pair: -pair[0]))  # the topmost first
        entries.append(Entry(f"{source.told(path)}, image {place}", said.get("name", ""), things, size, fault=fault))
    return entries


def _outline(node: Node, size: tuple[int, int] | None) -> Any:
    said = node.attributes
    if node.tag == "polygon":
        flat = polygon([corner.split(",") for corner in said.get("points", "").split(";")])
        return None if flat is None else [flat]
    if node.tag == "ellipse":
        numbers = (said.get(name) for name in ("cx", "cy", "rx", "ry"))
        flat = ellipse(*numbers, turned=said.get("rotation", 0.0))
        return None if flat is None else [flat]
    if node.tag == "mask" and size is not None:
        return MaskWindow(said)
    return None


class MaskWindow:
    """CVAT's mask: runs of 0 and 1 in turn, by rows, within a window of the photo (`outlines.Drawable`)."""

    def __init__(self, said: dict[str, str]) -> None:
        self.said = said

    def inside(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) bool. Raises OutlineError where the runs do not fill the window, or it does not lie in the photo."""
        try:
            left, top, width, height = (int(self.said[name]) for name in ("left", "top", "width", "height"))
            runs = [int(run) for run in self.said.get("rle", "").split(",")]
        except (KeyError, ValueError):
            raise OutlineError("a mask without its window or its runs") from None
        fits = left >= 0 and top >= 0 and left + width <= size[0] and top + height <= size[1] and width > 0 < height
        if not fits or min(runs) < 0 or sum(runs) != width * height:
            raise OutlineError("a mask that does not fill its window, or a window beyond its photo")
        window = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        whole = np.zeros((size[1], size[0]), np.bool_)
        whole[top : top + height, left : left + width] = window
        return whole
