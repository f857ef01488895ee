"""Masks of imported photos: outlines drawn, masks of other programs turned into this one's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.progress import track
from semples.data.classes import ClassList
from semples.data.importers.annotations import MaskFile, Thing
from semples.data.importers.merging import Photo
from semples.data.listing import find_files
from semples.data.names import unique_ids
from semples.data.outlines import OutlineError, draw, write_labels
from semples.data.photos import PhotoError, probe, read_colours, read_mask
from semples.data.problem import Problem

IGNORE = 255


@dataclass(frozen=True)
class Drawn:
    """How many masks were written, and why others were not."""

    count: int
    problems: tuple[Problem, ...]


def write_masks(photos: Sequence[Photo], placed: Mapping[str, str], out: Path, classes: ClassList) -> Drawn:
    """Write the masks of photos on which everything is outlined, and of those that bring one."""
    if not any(photo.mask or any(thing.outline for thing in photo.things) for photo in photos):
        return Drawn(0, ())
    numbers = {name: number for number, name in enumerate(classes.names, start=1)}
    ids = unique_ids(find_files(out))
    written = 0
    problems: list[Problem] = []
    for photo in track(photos, label="masks"):
        try:
            labels = labels_of(photo, out / placed[photo.path], numbers)
        except (OutlineError, PhotoError) as reason:
            problems.append(Problem(photo.where, f"{photo.path}: no mask; {reason}"))
            continue
        if labels is not None:
            write_labels(out / "masks" / f"{ids[placed[photo.path]]}.png", labels)
            written += 1
    return Drawn(written, tuple(problems))


def labels_of(photo: Photo, path: Path, numbers: Mapping[str, int]) -> NDArray[np.uint8] | None:
    """A photo's label map (H, W) uint8 by the classes' `numbers`; None where nothing tells one.

    Raises OutlineError and PhotoError.
    """
    if photo.assumed:
        return None
    if photo.mask is not None:
        return _translated(photo.mask, probe(path), numbers, set(photo.tags))
    if any(thing.name not in numbers for thing in photo.things):  # left open whether it is there
        return None
    outlined = {thing.name for thing in photo.things if thing.outline}
    open_things = [thing for thing in photo.things if not thing.outline and not thing.whole]
    if open_things or set(photo.tags) - outlined:
        if outlined:
            raise OutlineError("not everything on it has an outline")
        return None
    size = probe(path)
    if photo.size not in (None, size):
        raise OutlineError(f"annotated at {photo.size} pixels, but the photo has {size}")
    labels = draw(size, [(numbers[thing.name], _in_pixels(thing, size)) for thing in photo.things if thing.outline])
    unseen = [name for name in outlined if not (labels == numbers[name]).any()]
    if unseen:
        _refuse_without_area(photo, unseen, size)
    return labels


def _refuse_without_area(photo: Photo, names: Sequence[str], size: tuple[int, int]) -> None:
    """A class that others cover is tagged all the same; one whose outlines hold no pixel makes a mask wrong."""
    for name in sorted(names):
        alone = draw(
            size, [(1, _in_pixels(thing, size)) for thing in photo.things if thing.outline and thing.name == name]
        )
        if not alone.any():
            raise OutlineError(f"the outlines of {name} hold no pixel")


def _in_pixels(thing: Thing, size: tuple[int, int]) -> Any:
    """A thing's outline with polygons in pixels."""
    if thing.unit is None or not isinstance(thing.outline, list):
        return thing.outline
    scales = (size[0] / thing.unit, size[1] / thing.unit)
    try:
        return [[value * scales[place % 2] for place, value in enumerate(polygon)] for polygon in thing.outline]
    except (TypeError, OverflowError):
        raise OutlineError("a polygon must be a list of numbers x1, y1, x2, y2, ...") from None


def _translated(mask: MaskFile, size: tuple[int, int], numbers: Mapping[str, int], tags: set[str]) -> NDArray[np.uint8]:
    """Another program's mask with this one's values. Raises OutlineError for a value without a class."""
    if mask.kind == "index":
        values = read_mask(mask.path, size=size).astype(np.int64)
    else:
        values = read_colours(mask.path).astype(np.int64) @ np.array([1, 256, 65536])
        if values.shape != (size[1], size[0]):
            raise OutlineError(
                f"its mask has {values.shape[1]}x{values.shape[0]} pixels, the photo {size[0]}x{size[1]}"
            )
    labels = np.full(values.shape, IGNORE, np.uint8)
    for value in map(int, np.unique(values)):
        if value in mask.names:
            name = mask.names[value]
            if name and name not in tags:
                raise OutlineError(f"its mask shows {name}, its annotation does not")
            labels[values == value] = numbers[name] if name else 0
        elif mask.kind == "index" and value not in mask.ignored:
            raise OutlineError(f"its mask holds the value {value}, which has no class")
    return labels
