"""CVAT, "COCO 1.0": a zip archive with polygons (default) or masks.

    annotations.zip     annotations/instances_default.json
    labels.json         the labels with their colours, for CVAT's constructor ("Raw")

CVAT finds its images by name: upload the photos so that they keep their paths below the folder that holds them all.
Labels of the task must have the class names. Ignored pixels belong to no shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.palette import voc_palette
from semples.core.schema import setting
from semples.export.base import Exporter, min_area_setting, tolerance_setting
from semples.export.coco import coco_tree, compact_json
from semples.export.folder import write_zip
from semples.export.source import ExportSource

Shapes = Literal["polygons", "rle"]
ARCHIVE, LABELS = "annotations.zip", "labels.json"
LABELS_REMARK = f"in CVAT: a task with the labels of {LABELS} (Constructor, Raw), photos uploaded with their folders"


@dataclass(frozen=True)
class Options:
    """How the shapes are written."""

    shapes: Shapes = setting("polygons", "polygons, or rle: exact masks, which CVAT reads since 2.3")
    min_area: int = min_area_setting()
    tolerance: float = tolerance_setting()


class CvatCoco(Exporter):
    """CVAT, "COCO 1.0": a zip archive with polygons (default) or masks."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write the archive."""
        tree = coco_tree(
            source, source.photo_names, shapes=options.shapes, min_area=options.min_area, tolerance=options.tolerance
        )
        write_zip(folder / ARCHIVE, {"annotations/instances_default.json": compact_json(tree).encode()})
        write_labels(folder, source.dataset.classes.names)
        return (LABELS_REMARK, f"then Upload annotations, COCO 1.0, {ARCHIVE}: {len(tree['annotations'])} shapes")


def write_labels(folder: Path, names: tuple[str, ...]) -> None:
    """The labels as CVAT's constructor takes them as raw text: name, colour, no attributes."""
    colours = voc_palette()
    labels = [
        {"name": name, "color": "#" + bytes(colours[label]).hex(), "type": "any", "attributes": []}
        for label, name in enumerate(names, start=1)
    ]
    write_text(folder / LABELS, compact_json(labels))


def refuse_background(names: tuple[str, ...]) -> None:
    """Raises UserError where a class is called as CVAT calls what is no class."""
    for name in names:
        if name.casefold() == "background":
            raise UserError(f"a class is called {name!r}, which CVAT has already; rename it in the class list")
