"""COCO's panoptic JSON: segments of each photo with their categories, and PNGs whose colours are the segments' ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations, Entry, MaskFile, Thing, clean, records, size_of, whole
from semples.data.importers.base import Importer, Source
from semples.data.importers.coco import key, photo_of
from semples.data.problem import Problem


class Panoptic(Importer):
    """Panoptic JSON; masks where the PNGs lie beside it, in a folder of its name, or in the photos' folder."""

    about = "COCO's panoptic JSON, with its PNGs"

    def recognises(self, source: Source) -> bool:
        return any(is_panoptic(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        entries: list[Entry] = []
        problems: list[Problem] = []
        classes: list[str] = []
        for path, tree in source.trees:
            if is_panoptic(tree):
                entries += _entries(source, path, tree, classes, problems)
        return Annotations(tuple(dict.fromkeys(classes)), tuple(entries), tuple(problems))


def is_panoptic(tree: Any) -> bool:
    """Whether JSON data are panoptic: annotations of whole photos with a list of segments."""
    return isinstance(tree, dict) and any("segments_info" in entry for entry in records(tree.get("annotations"))[:100])


def _entries(
    source: Source, path: Path, tree: Mapping[str, Any], classes: list[str], problems: list[Problem]
) -> list[Entry]:
    listed = records(tree.get("categories"))
    categories = {key(entry.get("id")): clean(entry.get("name")) for entry in listed}
    if not any(categories.values()):
        raise UserError(f"{path}: panoptic annotations without the names of their categories")
    classes += [categories[number] for number in sorted(categories, key=str) if categories[number]]
    everything = any(entry.get("isthing") == 0 for entry in listed)  # then a pixel of no segment is unknown
    images = {key(image.get("id")): image for image in records(tree.get("images"))}
    masks = _mask_folder(source, path)
    entries = []
    done = set()
    for place, annotation in enumerate(records(tree.get("annotations")), start=1):
        where, owner = f"{source.told(path)}, annotation {place}", key(annotation.get("image_id"))
        image = images.get(owner)
        if image is None or not photo_of(image):
            problems.append(Problem(where, "belongs to no photo of the list"))
            continue
        done.add(owner)
        segments = records(annotation.get("segments_info"))
        names = {whole(segment.get("id")): categories.get(key(segment.get("category_id")), "") for segment in segments}
        fault = "" if all(names.values()) else "a segment's category is not in the file"
        mask = annotation.get("file_name")
        there = masks / mask if masks is not None and isinstance(mask, str) and ".." not in mask else None
        values = {number: name for number, name in names.items() if number is not None}
        labels = None
        if there is not None and there.is_file():
            labels = MaskFile(there, "colour", values if everything else {0: "", **values})
        things = tuple(Thing(name, whole=True) for name in names.values() if name)
        size = size_of(image.get("width"), image.get("height"))
        entries.append(Entry(where, photo_of(image), things, size, (), fault, labels))
    for owner, image in images.items():
        if owner not in done and photo_of(image):
            entries.append(Entry(source.told(path), photo_of(image), fault="it has no annotation in the file"))
    return entries


def _mask_folder(source: Source, path: Path) -> Path | None:
    folders = (path.with_suffix(""), path.parent / "masks", path.parent, source.photo_root / path.stem)
    return next((folder for folder in folders if folder.is_dir() and any(folder.glob("*.png"))), None)
