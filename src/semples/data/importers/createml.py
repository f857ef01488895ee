"""Create ML: a JSON list of photos, each with boxes that bear a label."""

from __future__ import annotations

from typing import Any

from semples.data.importers.annotations import Annotations, Entry, Thing, clean, records
from semples.data.importers.base import Importer, Source


class CreateMl(Importer):
    """Apple's Create ML JSON: boxes, so tags only."""

    about = "Create ML's JSON (boxes)"

    def recognises(self, source: Source) -> bool:
        return any(is_createml(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        entries = []
        for path, tree in source.trees:
            for place, photo in enumerate(records(tree) if is_createml(tree) else [], start=1):
                name = photo.get("image", photo.get("imagefilename"))
                names = [clean(entry.get("label")) for entry in records(photo.get("annotations"))]
                fault = "" if all(names) else "an annotation on it has no label"
                things = tuple(Thing(label) for label in names if label)
                told, base = source.told(path), source.base_of(path)
                also = (str(name),) if base else ()
                entries.append(Entry(f"{told}, entry {place}", base + str(name), things, also=also, fault=fault))
        return Annotations((), tuple(entries))


def is_createml(tree: Any) -> bool:
    """Whether JSON data are Create ML's."""
    photos = records(tree)
    return bool(photos) and all(
        isinstance(photo.get("image", photo.get("imagefilename")), str)
        and isinstance(photo.get("annotations"), list)
        and all("label" in entry and "coordinates" in entry for entry in records(photo["annotations"]))
        for photo in photos
    )
