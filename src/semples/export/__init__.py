"""Label maps of a run as files that other programs read.

An exporter is a module with `Options`, a frozen dataclass of its settings, and `export(source, folder, options)`, which
writes into an empty folder and returns remarks for the user. To add one, write the module and give it a line in
`EXPORTERS`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, cast

from semples.core.errors import UserError
from semples.export.folder import new_folder
from semples.export.source import ExportSource, source_of_photos, source_of_run

__all__ = ["EXPORTERS", "ExportSource", "Exported", "about", "export_labels", "source_of_photos", "source_of_run"]

EXPORTERS: dict[str, str] = {
    "voc": "semples.export.voc",
    "coco": "semples.export.coco",
    "yolo": "semples.export.yolo",
    "labelstudio": "semples.export.labelstudio",
    "cvat-coco": "semples.export.cvat_coco",
    "cvat-voc": "semples.export.cvat_voc",
    "gallery": "semples.export.gallery",
    "fma-wsss": "semples.export.fma_wsss",
}


class Exporter(Protocol):
    """What an exporter module offers."""

    Options: type[Any]

    def export(self, source: ExportSource, folder: Path, options: Any) -> tuple[str, ...]:
        """Write everything into the empty `folder`; what the user should know of it. Raises UserError."""
        ...


@dataclass(frozen=True)
class Exported:
    """What was written: the format, the folder, how many photos, and what the user should know."""

    format: str
    out: Path
    photos: int
    remarks: tuple[str, ...]


def export_labels(name: str, source: ExportSource, out: Path | str, **options: Any) -> Exported:
    """Write the photos' label maps (or CAMs) in the format `name` to the new folder `out`.

    `out` appears whole or not at all; equal input gives equal bytes. `options` are those of the format; one that is
    None stands for its default.

    Raises:
        UserError: unknown format or option, `out` holds something, a label map is missing or does not fit its photo.
    """
    exporter = _exporter(name)
    known = [field.name for field in fields(exporter.Options)]
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in known:
            raise UserError(f"the format {name} has no option {key}; it has {', '.join(known) or 'none'}")
    chosen = exporter.Options(**given)
    if not source.dataset.items:
        raise UserError(f"{source.dataset.root}: no photo to export")
    with new_folder(Path(out).expanduser()) as folder:
        remarks = exporter.export(source, folder, chosen)
    return Exported(name, Path(out), len(source.dataset.items), remarks)


def about(name: str) -> str:
    """One line on a format: the first of its module's documentation."""
    return (importlib.import_module(EXPORTERS[name]).__doc__ or "").partition("\n")[0].strip()


def _exporter(name: str) -> Exporter:
    if name not in EXPORTERS:
        raise UserError(f"unknown format {name!r}; known are {', '.join(EXPORTERS)}")
    return cast(Exporter, importlib.import_module(EXPORTERS[name]))
