"""COCO's JSON: instances, run-length codes and key points of one or several files; LVIS."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations, Entry, Thing, clean, records, size_of, some, whole
from semples.data.importers.base import Importer, Source
from semples.data.importers.geometry import flat_polygons, number
from semples.data.problem import Problem


class Coco(Importer):
    """COCO JSON: classes in the order of their ids; boxes and key points give tags only."""

    about = "COCO JSON (instances, key points; LVIS, Roboflow's train, valid and test)"

    def recognises(self, source: Source) -> bool:
        return any(is_coco(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        """Each file by itself, then all together: every split may have a file of its own."""
        files = [CocoFile(source, path, tree) for path, tree in source.trees if is_coco(tree)]
        usable = [file for file in files if file.annotations]
        if not usable:
            raise UserError(f"{source.path}: lists photos, but holds no annotation; export the annotations too")
        entries: list[Entry] = []
        problems: list[Problem] = []
        notes: list[str] = []
        for file in usable:
            entries += file.entries(problems, notes)
        for file in files:
            if not file.annotations:
                notes.append(f"{file.name} holds no annotation; its photos count as not annotated")
        named = {thing.name for entry in entries for thing in entry.things}
        classes = [name for file in usable for name in file.classes]
        groups = {name for file in usable for name in file.groups}
        kept = dict.fromkeys(name for name in classes if name in named or name not in groups)
        return Annotations(tuple(kept), tuple(entries), tuple(problems), tuple(notes))


def is_coco(tree: Any) -> bool:
    """Whether JSON data look like COCO's."""
    if not isinstance(tree, dict) or not isinstance(tree.get("images"), list):
        return False
    return "categories" in tree or isinstance(tree.get("annotations"), list)


def key(value: Any) -> Any:
    """An id so that 7, 7.0 and "7" are one; None for what is no id."""
    number_ = whole(value)
    if number_ is not None:
        return number_
    return value.strip() if isinstance(value, str) and value.strip() else None


def photo_of(image: Mapping[str, Any]) -> str:
    """The name of an image's photo; LVIS gives its address alone."""
    for field in ("file_name", "filename", "path"):
        if isinstance(image.get(field), str) and image[field].strip():
            return str(image[field])
    for field in ("coco_url", "flickr_url", "url"):
        if isinstance(image.get(field), str):
            return PurePosixPath(urlsplit(image[field]).path).name
    return ""


class CocoFile:
    """One file: its classes, and what it says of each photo."""

    def __init__(self, source: Source, path: Path, tree: Mapping[str, Any]) -> None:
        self.name, self.base = source.told(path), source.base_of(path)
        self.images, odd_images = _numbered(tree.get("images"))
        self.annotations, odd_annotations = _numbered(tree.get("annotations"))
        self.odd = [f"image {place}" for place in odd_images] + [f"annotation {place}" for place in odd_annotations]
        listed = records(tree.get("categories"))
        names: dict[Any, set[str]] = defaultdict(set)
        for entry in listed:
            names[key(entry.get("id"))].add(clean(entry.get("name")))
        self.categories = {
            number: min(words) for number, words in names.items() if len(words) == 1 and number is not None
        }
        self.categories = {number: name for number, name in self.categories.items() if name}
        order = sorted(self.categories, key=lambda number: (isinstance(number, str), number))
        self.classes = [self.categories[number] for number in order]
        # A category that only groups the others (Roboflow lists one) and marks nothing is no class.
        above = [(clean(entry.get("supercategory")), clean(entry.get("name"))) for entry in listed]
        self.groups = {group for group, name in above if group != name}
        if self.annotations and not self.classes:
            what = (
                "captions, which name no class" if "caption" in self.annotations[0][1] else "no categories with names"
            )
            raise UserError(f"{path}: it holds {what}; semples needs instances or tags")

    def class_of(self, annotation: Mapping[str, Any]) -> str:
        """The class of an annotation; empty where its category is not in the file."""
        told = annotation.get("category_id", annotation.get("category"))
        name = self.categories.get(key(told), "") if key(told) is not None else ""
        return name or (clean(told) if isinstance(told, str) and clean(told) in self.classes else "")

    def entries(self, problems: list[Problem], notes: list[str]) -> Iterable[Entry]:
        """What the file says of its photos. Photos whose things are not all known carry a fault."""
        ids = Counter(key(image.get("id")) for _, image in self.images)
        by_name = self._names()
        boxes = self._boxes_as_outlines()
        if boxes:
            notes.append(f"{self.name}: every outline is its box's four corners; boxes give tags, and no masks")
        things: dict[Any, list[Thing]] = defaultdict(list)
        faults: dict[Any, str] = {}
        orphans: list[int] = []
        for place, annotation in self.annotations:
            told = key(annotation.get("image_id"))
            owner = told if told in ids and told is not None else by_name.get(told)
            if owner is None:
                orphans.append(place)
                continue
            name = self.class_of(annotation)
            if not name:
                faults[owner] = f"the category of annotation {place} is not in the file"
                continue
            outline = None if boxes else flat_polygons(annotation.get("segmentation"))
            things[owner].append(Thing(name, outline))
        if len(orphans) == len(self.annotations):
            first = self.annotations[0][1].get("image_id")
            raise UserError(
                f"{self.name}: none of its {len(orphans)} annotations belongs to a photo of its list (the first says "
                f"image_id {str(first)[:40]}); export photos and annotations together"
            )
        if orphans:
            what = f"{len(orphans)} annotations (the first is number {orphans[0]}) belong to no photo of its list"
            problems.append(Problem(self.name, what))
        problems += [Problem(f"{self.name}, {what}", "not an object, so that it says nothing") for what in self.odd]
        entries = []
        bare: list[str] = []
        for place, image in self.images:
            where, photo, owner = f"{self.name}, image {place}", photo_of(image), key(image.get("id"))
            if not photo:
                problems.append(Problem(where, "no photo is named"))
                continue
            marks = tuple(things.get(owner, ())) if owner is not None else ()
            fault = faults.get(owner, "")
            if owner is None:
                fault = "it has no id, so that no annotation can belong to it"
            elif ids[owner] > 1 and marks:
                fault = f"{ids[owner]} photos have the id {owner}: which one its annotations mean is not told"
            elif (orphans or self.odd) and not marks and not fault:
                fault = "nothing is annotated on it, while annotations of the file belong to no photo"
            elif not marks and not fault:
                bare.append(photo)
            size = size_of(image.get("width"), image.get("height"))
            # Where each split has a file in its folder, names are relative to that folder.
            entries.append(Entry(where, self.base + photo, marks, size, (photo,) if self.base else (), fault))
        if bare:
            notes.append(
                f"{self.name} lists {len(bare)} photos and marks nothing on them ({some(bare)}): background only"
            )
        return entries

    def _names(self) -> dict[Any, Any]:
        """Ids by the photo's name, with and without extension: some programs write names as image_id."""
        names: dict[Any, Any] = {}
        for _, image in self.images:
            photo, owner = photo_of(image), key(image.get("id"))
            if photo and owner is not None:
                names.setdefault(photo, owner)
                names.setdefault(PurePosixPath(photo).stem, owner)
        return names

    def _boxes_as_outlines(self) -> bool:
        """Whether every outline is the four corners of its box: converters write boxes so."""
        outlined = [entry for _, entry in self.annotations if flat_polygons(entry.get("segmentation")) is not None]
        return bool(outlined) and all(map(_is_box, outlined))


def _numbered(told: Any) -> tuple[list[tuple[int, dict[str, Any]]], list[int]]:
    """The objects of a list with their places, and the places of what is none."""
    places = list(enumerate(told if isinstance(told, list) else [], start=1))
    objects = [(place, entry) for place, entry in places if isinstance(entry, dict)]
    return objects, [place for place, entry in places if not isinstance(entry, dict)]


def _is_box(annotation: Mapping[str, Any]) -> bool:
    box, outline = annotation.get("bbox"), annotation.get("segmentation")
    if not isinstance(box, list) or len(box) != 4 or not isinstance(outline, list) or len(outline) != 1:
        return False
    sides = [number(value) for value in box]
    if any(side is None for side in sides) or not isinstance(outline[0], list):
        return False
    x, y, width, height = (side or 0.0 for side in sides)
    points = [number(value) for value in outline[0]]
    if len(points) not in (8, 10) or any(value is None for value in points):
        return False
    corners = {(round(px or 0.0, 1), round(py or 0.0, 1)) for px, py in zip(points[0::2], points[1::2], strict=True)}
    return corners == {(round(a, 1), round(b, 1)) for a in (x, x + width) for b in (y, y + height)}
