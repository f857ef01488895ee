"""CVAT, "COCO 1.0": a zip archive with polygons (default) or masks.

    annotations.zip     annotations/instances_default.json

CVAT finds its images by name: upload the photos so that they keep their paths below the folder that holds them all.
Labels of the task must have the class names. Ignored pixels belong to no shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semples.core.schema import setting
from semples.export.base import Exporter, min_area_setting, tolerance_setting
from semples.export.coco import coco_tree, compact_json
from semples.export.folder import write_zip
from semples.export.source import ExportSource

Shapes = Literal["polygons", "rle"]
ARCHIVE = "annotations.zip"


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
        return (f"{len(tree['annotations'])} shapes; in CVAT: Upload annotations, COCO 1.0, {ARCHIVE}",)
