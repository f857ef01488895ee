"""Predicted photos as a source for exporters, so that people can correct them elsewhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image, UnidentifiedImageError

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.data.classes import class_list
from semples.data.dataset import FileDataset, Item
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
    them along; the label maps know their sizes. Raises UserError where there are none, or a photo has changed since.
    """
    for given in (labels, cams, photos):
        if given is not None and not given.is_dir():
            raise UserError(f"{given}: no such folder")
    entries = [entry for entry in read_journal(folder / JOURNAL) if (folder / LABELS / f"{entry['id']}.png").is_file()]
    if not entries:
        raise UserError(f"{folder}: no photo is predicted here; see `semples predict --help`")
    place = labels or folder / LABELS
    items, sizes = [], {}
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        items.append(Item(entry["id"], _photo(entry, folder, photos), ()))
        sizes[entry["id"]] = _size(place / f"{entry['id']}.png")
    classes = class_list(folder / CLASSES)
    dataset = FileDataset(folder.resolve().name, folder, classes, tuple(items), ())
    return ExportSource(dataset, place, sizes=sizes, cams=None if cams is None else CamStore(cams))


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
