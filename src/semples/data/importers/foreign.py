"""Formats that are not read, each known by its marks, with what to do."""

from __future__ import annotations

from typing import Any

from semples.data.importers.annotations import records
from semples.data.importers.base import Source
from semples.data.importers.xml import root_tag

EXPORT = "export the annotations as COCO there, and import that"

_SUFFIXES = {
    ".zip": "an archive; unpack it, or name it: `semples data import {path} --out FOLDER`",
    ".tar": "an archive; unpack it, or name it: `semples data import {path} --out FOLDER`",
    ".tgz": "an archive; unpack it, or name it: `semples data import {path} --out FOLDER`",
    ".parquet": "Parquet, which needs no import where photos are named or held in it: `semples data check {path}`",
    ".arrow": "Arrow, which needs no import where photos are named or held in it: `semples data check {path}`",
    ".tfrecord": f"TFRecord, which is not read; {EXPORT}",
    ".tfrecords": f"TFRecord, which is not read; {EXPORT}",
    ".xlsx": "an Excel workbook; save the table as CSV (UTF-8)",
    ".xls": "an Excel workbook; save the table as CSV (UTF-8)",
    ".ods": "a workbook; save the table as CSV (UTF-8)",
    ".manifest": f"a manifest of SageMaker, which is not read; {EXPORT}",
    ".mat": "a MATLAB file, which is not read; write its tags as CSV",
    ".pkl": "a pickle, which may run code and is not read; write its tags as CSV",
    ".h5": "HDF5, which is not read; write its tags as CSV",
}


def advice(source: Source) -> str | None:
    """What to do with files of a format that is not read; None where nothing is known of them."""
    for path, tree in source.trees:
        what = foreign_json(tree)
        if what is not None:
            return f"{path}: {what}"
    for path in source.with_suffix(".xml"):
        return f"{path}: XML of <{root_tag(path)}>, which is not read (VOC's <annotation> and CVAT's <annotations> are)"
    for path in source.files:
        what = _SUFFIXES.get(path.suffix.casefold())
        if what is not None:
            return f"{path}: {what.format(path=path)}"
    if source.broken:
        return f"{source.root / source.broken[0].where}: {source.broken[0].what}"
    return None


def foreign_json(tree: Any) -> str | None:
    """What a JSON file is that no reader knows."""
    if isinstance(tree, dict):
        if "view" in tree and "metadata" in tree and "file" in tree:
            return f"a project of VIA 3, which is not read; {EXPORT}"
        if "assets" in tree or ("asset" in tree and "regions" in tree):
            return f"VoTT's, which is not read; {EXPORT}"
        if "imgHeight" in tree and "objects" in tree:
            return "Cityscapes' polygons, which are not read; import its masks with a list of their classes"
        if "items" in tree and "categories" in tree:
            return f"Datumaro's, which is not read; {EXPORT}"
        if {"data_row", "projects"} <= set(tree):
            return f"Labelbox's, which is not read; {EXPORT}"
        if "licenses" in tree and "images" not in tree:
            return "looks like COCO's, but has no list of images; export it again"
    first = next(iter(records(tree)), {})
    if "image_id" in first and "category_id" in first:
        return "COCO results, which list no photos; import the file with `images`, `annotations` and `categories`"
    if {"data_row", "projects"} <= set(first) or "DataRow ID" in first:
        return f"Labelbox's, which is not read; {EXPORT}"
    if "name" in first and "labels" in first:
        return f"BDD100K's, which is not read; {EXPORT}"
    return None
