"""VGG Image Annotator (VIA 1 and 2): JSON projects and exports. Its CSV is read by `tables` through `via_rows`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations, Entry, Thing, clean, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.geometry import ellipse, polygon
from semples.data.tables.grid import read_grid
from semples.data.text import read_text

NAMES = ("class", "label", "name", "type", "category", "object", "tag", "class_name", "label_name")
CSV_COLUMNS = {"region_shape_attributes", "region_attributes"}


class Via(Importer):
    """VIA's projects, JSON and CSV: the class is the region attribute called class, label or name, or the only one."""

    about = "VGG Image Annotator (VIA 1 and 2), JSON or CSV"

    def recognises(self, source: Source) -> bool:
        return any(_photos(tree) for _, tree in source.trees) or bool(_tables(source))

    def read(self, source: Source) -> Annotations:
        told = [(source.told(path), name, regions)
                for path, tree in source.trees for name, regions in _photos(tree)]  # fmt: skip
        for path in _tables(source):
            told += [(where, name, regions) for where, name, regions in _csv_photos(source, path)]
        attribute = _attribute(source, [region for _, _, regions in told for region in regions])
        entries = []
        for where, name, regions in told:
            things: list[Thing] = []
            fault = ""
            for shape, answers in regions:
                names = _answer(answers.get(attribute)) if attribute else []
                things += [Thing(label, _outline(shape)) for label in names]
                if not names:
                    fault = f"a region on it has no {attribute or 'attribute'}"
            entries.append(Entry(where, name, tuple(things), fault=fault))
        bare = [entry.photo for entry in entries if not entry.things and not entry.fault]
        notes = [f"{len(bare)} photos are listed without a region ({some(bare)}): background only"] if bare else []
        if attribute:
            notes.append(f"classes are the region attribute {attribute!r}")
        return Annotations((), tuple(entries), (), tuple(notes))


Region = tuple[Mapping[str, Any], Mapping[str, Any]]  # shape, attributes


def _photos(tree: Any) -> list[tuple[str, list[Region]]]:
    """Photos and their regions; empty where JSON data are not VIA's."""
    if not isinstance(tree, dict):
        return []
    inner = tree.get("_via_img_metadata", tree)
    if not isinstance(inner, dict) or not inner:
        return []
    entries = list(inner.values())
    if not all(isinstance(entry, dict) and "filename" in entry and "regions" in entry for entry in entries):
        return []
    return [(str(entry["filename"]), list(_regions(entry["regions"]))) for entry in entries]


def _regions(told: Any) -> Iterator[Region]:
    listed = list(told.values()) if isinstance(told, dict) else told if isinstance(told, list) else []
    for region in listed:
        if isinstance(region, dict):
            shape, answers = region.get("shape_attributes"), region.get("region_attributes")
            yield (shape if isinstance(shape, dict) else {}, answers if isinstance(answers, dict) else {})


def _tables(source: Source) -> list[Any]:
    tables = []
    for path in source.with_suffix(".csv"):
        try:
            with open(path, encoding="utf-8-sig", errors="replace") as file:
                start = file.read(2000)
        except OSError:
            continue
        if all(column in start.splitlines()[0] if start else False for column in CSV_COLUMNS):
            tables.append(path)
    return tables


def _csv_photos(source: Source, path: Any) -> Iterator[tuple[str, str, list[Region]]]:
    """Photos of VIA's CSV, a row a region, with its regions; one with region_count 0 has none."""
    grid = read_grid(path, read_text(path))
    columns = [name.casefold().lstrip("#").strip() for name in grid.columns]
    photos: dict[str, tuple[str, list[Region]]] = {}
    for line in grid.lines:
        row = dict(zip(columns, line.cells, strict=False))
        name = str(row.get("filename", "")).strip()
        regions = photos.setdefault(name, (line.where, []))[1]
        shape, answers = _cell(row.get("region_shape_attributes")), _cell(row.get("region_attributes"))
        if shape or answers:
            regions.append((shape, answers))
    yield from ((where, name, regions) for name, (where, regions) in photos.items() if name)


def _cell(text: Any) -> Mapping[str, Any]:
    try:
        tree = json.loads(text) if isinstance(text, str) and text.strip() else {}
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _attribute(source: Source, regions: list[Region]) -> str:
    """The attribute that holds the class. Raises UserError where several could."""
    counts = Counter(name for _, answers in regions for name, answer in answers.items() if _answer(answer))
    if not regions:
        return ""
    if not counts:
        raise UserError(f"{source.path}: its regions have no attributes, so no class is told; give them one in VIA")
    known = {name.casefold(): name for name in counts}
    chosen = next((known[name] for name in NAMES if name in known), None)
    if chosen is None and len(counts) > 1:
        raise UserError(
            f"{source.path}: its regions have the attributes {some(sorted(counts))}; call that of the class `class`"
        )
    return chosen if chosen is not None else next(iter(counts))


def _answer(value: Any) -> list[str]:
    """The names in an attribute's value: text, a number, or VIA's {name: true} of check boxes."""
    if isinstance(value, dict):
        return [clean(name) for name, chosen in value.items() if chosen and clean(name)]
    return [clean(value)] if clean(value) else []


def _outline(shape: Mapping[str, Any]) -> Any:
    kind = shape.get("name")
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys):
            flat = polygon([list(pair) for pair in zip(xs, ys, strict=True)])
            return None if flat is None else [flat]
    flat = None
    if kind == "circle":
        flat = ellipse(shape.get("cx"), shape.get("cy"), shape.get("r"), shape.get("r"))
    elif kind == "ellipse":
        flat = ellipse(shape.get("cx"), shape.get("cy"), shape.get("rx"), shape.get("ry"))
    return None if flat is None else [flat]
