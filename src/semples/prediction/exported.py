"""Predicted photos as a source for exporters, so that people can correct them elsewhere."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, UnidentifiedImageError

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.places import ids_in, place_of
from semples.data.classes import class_list
from semples.data.dataset import FileDataset, Item, Problem
from semples.data.pictures import is_whole
from semples.export.source import ExportSource
from semples.prediction.journal import CLASSES, JOURNAL, LABELS, MANIFEST, read_journal


def is_predicted(folder: Path) -> bool:
    """Whether `semples predict` has written the folder."""
    return (folder / MANIFEST).is_file() and (folder / CLASSES).is_file()


def source_of_predictions(
    folder: Path, *, labels: Path | None = None, cams: Path | None = None, photos: Path | None = None
) -> ExportSource:
    """The photos of a folder of predictions with their label maps, or those of the folder `labels`.

    photos: where they lie now, in case they have moved. The photos themselves are opened only for formats that bring
    them along; the label maps know their sizes. What is damaged is left out, as a problem of the source's dataset.
    Raises UserError where there are none, or a photo has changed since.
    """
    for given in (labels, cams, photos):
        if given is not None and not given.is_dir():
            raise UserError(f"{given}: no such folder")
    entries, damaged = read_journal(folder)
    place = labels or folder / LABELS
    items, sizes, problems = [], {}, []
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        label_map = place_of(place, entry["id"], ".png")
        if labels is None and not is_whole(label_map):
            lost = "damaged" if label_map.exists() else "missing"
            problems.append(Problem(str(label_map), f"this label map is {lost}; left out: predict the photo again"))
            continue
        items.append(Item(entry["id"], _photo(entry, folder, photos), ()))
        sizes[entry["id"]] = _size(label_map)
    problems += _unlisted(folder, {entry["id"] for entry in entries}) if damaged else []
    if not items:
        first = f"; {problems[0].where}: {problems[0].what}" if problems else ""
        raise UserError(f"{folder}: no photo is predicted here; see `semples predict --help`{first}")
    classes = class_list(folder / CLASSES)
    dataset = FileDataset(folder.resolve().name, folder, classes, tuple(items), tuple(problems))
    return ExportSource(dataset, place, sizes=sizes, cams=None if cams is None else CamStore(cams))


def _unlisted(folder: Path, known: Set[str]) -> list[Problem]:
    """The label maps of photos whose lines in the journal are damaged, so that nobody knows what photos they are of."""
    maps = ids_in(folder / LABELS, ".png")
    what = f"its photo's line in {JOURNAL} is damaged; left out: predict the photo again"
    names = [str(place_of(folder / LABELS, id, ".png")) for id in maps if id not in known]
    return [Problem(name, what) for name in sorted(names)] or [
        Problem(str(folder / JOURNAL), "holds a damaged line; every label map has its photo all the same")
    ]


def _photo(entry: dict[str, Any], folder: Path, photos: Path | None) -> Path:
    """Where a photo is. Raises UserError where another one lies there now."""
    name = PurePosixPath(str(entry["name"]))
    path = Path(str(entry["path"])) if photos is None or ".." in name.parts else photos / name
    try:
        size = path.stat().st_size
    except OSError:  # told by the formats that need it
        return path
    if size != entry["stamp"][0]:
        raise UserError(f"{path}: has changed since it was predicted; predict it again into {folder}")
    return path


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise UserError(f"{path}: no such label map; predict this photo again") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f"{path}: not a readable picture; predict this photo again") from None
