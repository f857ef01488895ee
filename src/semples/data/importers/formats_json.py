"""Annotations in JSON: COCO's, and Label Studio's exports (JSON and JSON-MIN)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.data.dataset import Problem
from semples.data.importers.annotations import Annotations, Entry, Thing, clean
from semples.data.importers.brush import BrushError, brush_to_rle
from semples.data.photos import PHOTO_SUFFIXES


def load_json(path: Path) -> Any:
    """A JSON file. Raises UserError, also where it is nested without end."""
    try:
        return read_json(path)
    except (RecursionError, ValueError):
        raise UserError(f"{path}: nested too deeply, or a number without end; not an annotation file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


# -------------------------------------------------------------------------------------------------------------- COCO


def is_coco(tree: Any) -> bool:
    """Whether JSON data look like COCO's."""
    return isinstance(tree, dict) and isinstance(tree.get("images"), list) and "categories" in tree


def read_coco(files: Sequence[tuple[Path, Any]], root: Path) -> Annotations:
    """COCO JSON files (path, data): classes in the order of their ids.

    A category that only groups the others (Roboflow lists one) and marks nothing is no class.
    """
    classes: list[str] = []
    groups: set[str] = set()
    used: set[str] = set()
    entries: list[Entry] = []
    problems: list[Problem] = []
    for path, tree in files:
        listed = list(_records(tree.get("categories")))
        categories = {_key(entry.get("id")): clean(entry.get("name")) for entry in listed}
        above = ((clean(entry.get("supercategory")), clean(entry.get("name"))) for entry in listed)
        groups |= {group for group, name in above if group != name}
        numbers = sorted(number for number in categories if type(number) is int)
        classes += [categories[number] for number in numbers if categories[number]]
        things: dict[Any, list[Thing]] = {}
        for place, entry in enumerate(_records(tree.get("annotations")), start=1):
            name = categories.get(_key(entry.get("category_id")), "")
            if not name:
                problems.append(Problem(f"{path.name}, annotation {place}", "its category is not in the file"))
                continue
            used.add(name)
            outline = entry.get("segmentation") or None
            things.setdefault(_key(entry.get("image_id")), []).append(Thing(name, outline))
        base = "" if path.parent == root else Path(os.path.relpath(path.parent, root)).as_posix()
        for place, entry in enumerate(_records(tree["images"]), start=1):
            where, photo = f"{path.name}, image {place}", entry.get("file_name")
            if not isinstance(photo, str) or not photo.strip():
                problems.append(Problem(where, "no photo is named"))
                continue
            found = tuple(things.pop(_key(entry.get("id")), ()))
            size = _size(entry.get("width"), entry.get("height"))
            # Where each split has a file in its folder, names are relative to that folder.
            entries.append(Entry(where, f"{base}/{photo}" if base else photo, found, size, (photo,)))
        if things:
            problems.append(Problem(path.name, f"{len(things)} photos with annotations are not among its images"))
    kept = [name for name in dict.fromkeys(classes) if name in used or name not in groups]
    return Annotations(tuple(kept), tuple(entries), tuple(problems))


def _records(value: Any) -> Iterator[dict[str, Any]]:
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else iter(())


def _key(value: Any) -> Any:
    return value if isinstance(value, int | str) else None


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    return (width, height) if type(width) is int and type(height) is int and min(width, height) > 0 else None


# ------------------------------------------------------------------------------------------------------ Label Studio


def is_label_studio(tree: Any) -> bool:
    """Whether JSON data look like an export of Label Studio (JSON or JSON-MIN)."""
    tasks = list(_records(tree))[:20]
    return bool(tasks) and all(
        ("data" in task and any(key in task for key in ("annotations", "completions", "predictions")))
        or "annotation_id" in task
        for task in tasks
    )


def read_label_studio(path: Path, tree: Any) -> Annotations:
    """A Label Studio export: choices, boxes, polygons, brushes; of several annotations of a photo the first counts."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    # Tasks as they are handed over, not yet opened by anyone: their predictions are all there is.
    untouched = not any("annotations" in task or "completions" in task for task in _records(tree))
    for place, task in enumerate(_records(tree), start=1):
        where = f"{path.name}, task {place}"
        data = task["data"] if isinstance(task.get("data"), dict) else task
        photo = next((value for value in data.values() if isinstance(value, str) and _photo_of(value)), None)
        if photo is None:
            problems.append(Problem(where, "no photo is named"))
            continue
        results: list[Any]
        if "annotations" in task or "completions" in task or (untouched and "predictions" in task):
            told = task.get("predictions") if untouched else task.get("annotations", task.get("completions"))
            done = [
                entry
                for entry in _records(told)
                if not entry.get("was_cancelled") and isinstance(entry.get("result"), list)
            ]
            if not done:
                problems.append(Problem(where, f"{photo[:80]}: not annotated"))
                continue
            if len(done) > 1:
                problems.append(Problem(where, f"{photo[:80]}: annotated {len(done)} times; the first is used"))
            results = done[0]["result"]
        else:
            results = _minimal_results(task)
        try:
            things = tuple(thing for result in _records(results) for thing in _label_studio_things(result))
        except BrushError as reason:
            problems.append(Problem(where, f"{photo[:80]}: {reason}"))
            continue
        sizes = {_size(entry.get("original_width"), entry.get("original_height")) for entry in _records(results)} - {
            None
        }
        entries.append(Entry(where, _photo_of(photo), things, sizes.pop() if len(sizes) == 1 else None))
    return Annotations((), tuple(entries), tuple(problems))


def _photo_of(address: str) -> str:
    """The photo's path in an address: `/data/upload/1/x.jpg`, `/data/local-files/?d=a/x.jpg`, `s3://bucket/x.jpg`."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return path.lstrip("/") if PurePosixPath(path).suffix.casefold() in PHOTO_SUFFIXES else ""


def _minimal_results(task: dict[str, Any]) -> list[Any]:
    """JSON-MIN: results by the name of their control, choices as plain text."""
    results: list[Any] = []
    for name, value in task.items():
        if isinstance(value, list):
            results += [{**entry, "value": entry} for entry in _records(value)]
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            results.append({"value": value})
        elif name == "choice" and isinstance(value, str):
            results.append({"value": {"choices": [value]}})
    return results


def _label_studio_things(result: dict[str, Any]) -> Iterator[Thing]:
    value = result.get("value")
    if not isinstance(value, dict):
        return
    names = [
        clean(name)
        for key, found in value.items()
        if (key == "choices" or key.endswith("labels")) and isinstance(found, list)
        for name in found
    ]
    outline: Any = None
    unit = None
    points = value.get("points")
    if isinstance(points, list) and "polygonlabels" in value:
        corners = [point for point in points if isinstance(point, list) and len(point) == 2]
        outline, unit = [[number for corner in corners for number in corner]], 100.0
    elif isinstance(value.get("rle"), list):
        size = _size(result.get("original_width"), result.get("original_height"))
        outline = None if size is None else brush_to_rle(value["rle"], size)
    whole = "choices" in value  # said of the photo, so there is nothing to outline
    for name in names:
        if name:
            yield Thing(name, outline, unit, whole)
