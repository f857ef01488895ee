"""Photos in the cells of files, whatever their tags."""

from __future__ import annotations

from pathlib import Path

from semples.core.cells import path_of
from semples.data.columnar.ids import ids_of, suffix_of
from semples.data.columnar.rows import photo_rows
from semples.data.columnar.sources import all_parts


def photos_in(source: Path) -> list[tuple[Path, str]]:
    """(path of the cell, name) of the photos in a file or a folder of files, all splits. The name is the id that the
    reader of tagged photos gives, and what its path ends in. Raises UserError."""
    parts, several = all_parts(source)
    read = [photo_rows(part.path) for part in parts]
    rows = [
        (part.split if several else "", part.below, number, name)
        for part, (_, names, _) in zip(parts, read, strict=True)
        for number, name in enumerate(names)
    ]
    ids = iter(ids_of(rows))
    photos = []
    for part, (column, names, filled) in zip(parts, read, strict=True):
        for number, (name, full, id) in enumerate(zip(names, filled, ids, strict=False)):
            if full:
                suffix = suffix_of(name)
                photos.append((path_of(part.path, column, number, suffix), f"{id}{suffix}"))
    return photos
