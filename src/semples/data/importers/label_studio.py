"""Label Studio's JSON and JSON-MIN exports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations, Entry, Thing, clean, records, size_of, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.brush import BrushError, brush_to_rle
from semples.data.importers.geometry import ellipse, polygon
from semples.data.names import is_photo_name, without_upload_mark
from semples.data.problem import Problem

PLACE = ("x", "y", "points", "rle", "radiusX", "width", "vertices")  # a value with one of these is a region


class LabelStudio(Importer):
    """Label Studio's exports. Of several annotations of a task ground truth counts first, a cancelled one never."""

    about = "Label Studio's JSON and JSON-MIN"

    def recognises(self, source: Source) -> bool:
        return any(is_label_studio(tree) for _, tree in source.trees)

    def read(self, source: Source) -> Annotations:
        files = [(path, tree) for path, tree in source.trees if is_label_studio(tree)]
        if len(files) > 1:
            raise UserError(f"{source.path}: several exports of Label Studio; name one of them")
        path, tree = files[0]
        entries: list[Entry] = []
        problems: list[Problem] = []
        predicted: list[str] = []
        leaves = _leaves(tree)
        for place, task in enumerate(records(tree), start=1):
            where = f"{source.told(path)}, task {place}"
            photo = _photo(task)
            if not photo:
                problems.append(Problem(where, "no photo is named"))
                continue
            also = (without_upload_mark(PurePosixPath(photo).name),)
            results = _results(task, source.predictions, where, photo, problems)
            if results is None:
                unseen = "a model's prediction alone" if records(task.get("predictions")) else "not annotated"
                predicted += [photo] if records(task.get("predictions")) else []
                entries.append(Entry(where, photo, also=also, fault=f"{unseen}; annotate it, or skip it", unseen=True))
                continue
            entries.append(_entry(where, photo, also, results, leaves, problems))
        if predicted and all(entry.fault for entry in entries):
            raise UserError(
                f"{path}: {len(predicted)} tasks hold predictions of a model alone and no annotation; annotate them, "
                "or take the predictions for tags with --predictions"
            )
        if entries and all(entry.fault for entry in entries):
            raise UserError(f"{path}: no task is annotated; submit annotations in Label Studio, and export again")
        bare = [entry.photo for entry in entries if not entry.things and not entry.fault]
        notes = [f"{len(bare)} tasks are annotated with nothing ({some(bare)}): background only"] if bare else []
        if source.predictions and predicted:
            notes.append(f"{len(predicted)} photos have what a model predicted for tags ({some(predicted)})")
        return Annotations((), tuple(entries), tuple(problems), tuple(notes))


def is_label_studio(tree: Any) -> bool:
    """Whether JSON data look like an export: tasks with data and annotations, or flat ones of JSON-MIN."""
    tasks = records(tree)
    if not tasks:
        return False
    whole = all(isinstance(task.get("data"), dict) for task in tasks) and any(
        "annotations" in task or "completions" in task or "predictions" in task for task in tasks
    )
    flat = all("annotation_id" in task or ("annotator" in task and "id" in task) for task in tasks)
    return (whole or flat) and any(_photo(task) for task in tasks)


def _photo(task: Mapping[str, Any]) -> str:
    """The photo's path in a task: `/data/upload/1/x.jpg`, `/data/local-files/?d=a/x.jpg`, `s3://bucket/x.jpg`."""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    for value in data.values():
        if not isinstance(value, str):
            continue
        try:
            parts = urlsplit(value)
            path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
        except ValueError:
            continue
        if is_photo_name(path):
            return path.lstrip("/")
    return ""


def _results(
    task: Mapping[str, Any], predictions: bool, where: str, photo: str, problems: list[Problem]
) -> list[dict[str, Any]] | None:
    """The results that count; None where nobody has annotated the task."""
    if "annotations" not in task and "completions" not in task and "predictions" not in task:
        return _flat_results(task)
    told = records(task.get("annotations", task.get("completions")))
    done = [entry for entry in told if not entry.get("was_cancelled") and isinstance(entry.get("result"), list)]
    if not done and predictions:
        done = [entry for entry in records(task.get("predictions")) if isinstance(entry.get("result"), list)]
    if not done:
        return None
    chosen = next((entry for entry in done if entry.get("ground_truth")), done[0])
    if len(done) > 1 and not chosen.get("ground_truth"):
        said = {tuple(sorted(set(_labels_of(entry)))) for entry in done}
        if len(said) > 1:
            problems.append(Problem(where, f"{photo[:80]}: annotated {len(done)} times, not alike; the first is used"))
    return [entry if isinstance(entry, dict) else {} for entry in chosen["result"]]


def _labels_of(annotation: Mapping[str, Any]) -> Iterator[str]:
    for result in records(annotation.get("result")):
        value = result.get("value")
        for field, names in value.items() if isinstance(value, dict) else ():
            if field.endswith(("labels", "choices", "taxonomy")) and isinstance(names, list):
                yield from map(str, names)


def _flat_results(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """JSON-MIN: results by the name of their control, choices as plain text, taxonomies as lists of lists."""
    results: list[dict[str, Any]] = []
    for name, value in task.items():
        if isinstance(value, list) and value and all(isinstance(entry, list) for entry in value):
            results.append({"value": {"taxonomy": value}})
        elif isinstance(value, list):
            results += [{**entry, "value": entry} for entry in records(value)]
        elif isinstance(value, dict) and isinstance(value.get("choices"), list):
            results.append({"value": value})
        elif (
            name in ("choice", "choices", "class", "tag", "tags", "label", "labels")
            and isinstance(value, str)
            and value
        ):
            results.append({"value": {"choices": [value]}})
    return results


# --------------------------------------------------------------------------------------------------------- regions


class _NoLabel(Exception):
    """A region that bears no label."""


def _entry(
    where: str,
    photo: str,
    also: tuple[str, ...],
    results: list[dict[str, Any]],
    leaves: Mapping[str, int],
    problems: list[Problem],
) -> Entry:
    """What the results of one annotation say. Results with one id are parts of one region: its points, its label."""
    regions: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    fault = ""
    for place, result in enumerate(results):
        if isinstance(result.get("value"), dict):
            told = result.get("id")
            regions[told if isinstance(told, str) else place].append(result)
        elif result.get("type") != "relation":
            fault = "a result on it has no value"
    things: list[Thing] = []
    for parts in regions.values():
        try:
            things += _things(parts, leaves)
        except _NoLabel:
            fault = "a result on it names no class"
        except BrushError as reason:
            problems.append(Problem(where, f"{photo[:80]}: {reason}; its tags are used, without a mask"))
            things += [Thing(name) for name in _region_labels(parts) if name]
    sizes = {size_of(entry.get("original_width"), entry.get("original_height")) for entry in results} - {None}
    return Entry(where, photo, tuple(things), sizes.pop() if len(sizes) == 1 else None, also, fault)


def _things(parts: list[dict[str, Any]], leaves: Mapping[str, int]) -> list[Thing]:
    """The things of one region, or the tags of the photo. Choices of a region describe it; they are no tags."""
    values = [part["value"] for part in parts]
    labels = _region_labels(parts)
    if not any(field in value for value in values for field in PLACE):
        labels += [clean(name) for value in values for name in _listed(value.get("choices"))]
        labels += [_taxon(path, leaves) for value in values for path in _listed(value.get("taxonomy"))]
        if not all(labels) or (not labels and any(_names_classes(part) for part in parts)):
            raise _NoLabel
        return [Thing(name, whole=True) for name in labels]
    if not labels or not all(labels):
        raise _NoLabel
    outline, unit = _outline(parts)
    return [Thing(name, outline, unit) for name in labels]


def _names_classes(result: Mapping[str, Any]) -> bool:
    """Whether a result is of a control that names classes; a text or a rating is of none."""
    kind = result.get("type")
    told = isinstance(kind, str) and (kind in ("choices", "taxonomy") or kind.endswith("labels"))
    return told or any(str(field).endswith(("labels", "choices", "taxonomy")) for field in result["value"])


def _region_labels(parts: list[dict[str, Any]]) -> list[str]:
    """The labels of a region: under `labels`, `polygonlabels` and the like; empty for what is no name."""
    told = [
        clean(name)
        for part in parts
        for field, names in part["value"].items()
        if field.endswith("labels") and isinstance(names, list)
        for name in names
    ]
    return told


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _outline(parts: list[dict[str, Any]]) -> tuple[Any, float | None]:
    for part in parts:
        value = part["value"]
        size = size_of(part.get("original_width"), part.get("original_height"))
        if isinstance(value.get("points"), list):
            flat = polygon(value["points"])
            if flat is not None:
                return [flat], 100.0
        if isinstance(value.get("rle"), list) and value["rle"]:
            return (None if size is None else brush_to_rle(value["rle"], size)), None
        if "radiusX" in value:
            aspect = 1.0 if size is None else size[0] / size[1]
            fields = (value.get(name) for name in ("x", "y", "radiusX", "radiusY"))
            flat = ellipse(*fields, turned=value.get("rotation", 0.0), aspect=aspect)
            return (None if flat is None else [flat]), 100.0
    return None, None


def _leaves(tree: Any) -> dict[str, int]:
    """For each last word of a taxonomy's paths, how many different paths end in it."""
    paths: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for task in records(tree):
        for annotation in records(task.get("annotations", task.get("completions"))):
            for result in records(annotation.get("result")):
                value = result.get("value")
                for path in _listed(value.get("taxonomy")) if isinstance(value, dict) else ():
                    words = tuple(map(clean, _listed(path)))
                    if words:
                        paths[words[-1]].add(words)
    return {leaf: len(ways) for leaf, ways in paths.items()}


def _taxon(path: Any, leaves: Mapping[str, int]) -> str:
    """The last word of a taxonomy's path; the whole path where several end so."""
    words = [word for word in map(clean, _listed(path)) if word]
    if not words:
        return ""
    return " / ".join(words) if leaves.get(words[-1], 1) > 1 else words[-1]
