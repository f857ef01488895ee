"""Label maps of a run, or of predicted photos, as files that other programs read.

To add a format, write a module with an `Exporter` and give it a line in `EXPORTERS`; another package names its own as
an entry point `semples.exporters`, and `package.module:Name` names any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.plain import plain
from semples.core.registry import Registry
from semples.core.schema import merge
from semples.export.base import Exporter
from semples.export.folder import new_folder
from semples.export.source import ExportSource, source_of_photos, source_of_run

__all__ = [
    "EXPORTERS", "ExportSource", "Exported", "Exporter", "about", "export_labels", "exporter", "parse_options",
    "source_of_photos", "source_of_run",
]  # fmt: skip

EXPORTERS: Registry[Any] = Registry(
    kind="format",
    group="semples.exporters",
    shipped={
        "voc": "semples.export.voc:Voc",
        "coco": "semples.export.coco:Coco",
        "yolo": "semples.export.yolo:Yolo",
        "labelstudio": "semples.export.labelstudio:LabelStudio",
        "coco-panoptic": "semples.export.coco_panoptic:CocoPanoptic",
        "cvat-coco": "semples.export.cvat_coco:CvatCoco",
        "cvat-voc": "semples.export.cvat_voc:CvatVoc",
        "gallery": "semples.export.gallery:Gallery",
        "fma-wsss": "semples.export.fma_wsss:FmaWsss",
    },
    base=Exporter,
)


CORRECTED = "corrected.md"  # no suffix that readers of annotations look at


@dataclass(frozen=True)
class Exported:
    """What was written: the format, the folder, how many photos, and what the user should know."""

    format: str
    out: Path
    photos: int
    remarks: tuple[str, ...]


def exporter(name: str) -> Exporter:
    """The exporter of this name. Raises UserError for an unknown one."""
    loaded = EXPORTERS.load(name)
    made: Exporter = loaded() if isinstance(loaded, type) else loaded
    return made


def export_labels(name: str, source: ExportSource, out: Path | str, **options: Any) -> Exported:
    """Write the photos' label maps (or CAMs) in the format `name` to the new folder `out`.

    `out` appears whole or not at all; equal input gives equal bytes. `options` are those of the format; one that is
    None stands for its default.

    Raises:
        UserError: unknown format or option, `out` holds something, a label map is missing or does not fit its photo.
    """
    chosen = exporter(name)
    known = [field.name for field in fields(chosen.settings)]
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in known:
            raise UserError(f"the format {name} has no option {key}; it has {', '.join(known) or 'none'}")
    settings = merge(chosen.settings(), given, where=name)
    if not source.dataset.items:
        raise UserError(f"{source.dataset.root}: no photo to export")
    with new_folder(Path(out).expanduser()) as folder:
        remarks = chosen.export(source, folder, settings)
        if source.corrected:
            write_text(folder / CORRECTED, _corrected(source))
            remarks = (*remarks, f"{len(source.corrected)} photos are corrected by hand, listed in {CORRECTED}")
    return Exported(name, Path(out), len(source.dataset.items), remarks)


def _corrected(source: ExportSource) -> str:
    """The photos whose label maps a person has corrected, as a list."""
    lines = "".join(f"- {plain(source.photo_names[id])}\n" for id in source.corrected)
    return f"Label maps of these photos were corrected by hand, all others were made from tags:\n\n{lines}"


def about(name: str) -> str:
    """One line on a format: the first of its documentation."""
    return EXPORTERS.about(name)


def parse_options(words: Iterable[str]) -> dict[str, Any]:
    """`key=value` words as options; values are read as YAML. Raises UserError."""
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key.isidentifier():
            raise UserError(f"--option {word}: write key=value, for example min_area=20")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
        if parsed is None or isinstance(parsed, dict):
            parsed = value
        options[key] = parsed
    return options
