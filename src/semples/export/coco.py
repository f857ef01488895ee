"""COCO JSON: one annotation a region, as run-length code (exact) or polygon.

    instances.json      opens in pycocotools; category k + 1 is class k
    images/             the photos, where wanted

Ignored pixels, which COCO does not know, belong to no annotation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semples import __version__
from semples.core.files import write_text
from semples.core.progress import track
from semples.core.schema import setting
from semples.export.base import Exporter, Photos, min_area_setting, photos_setting, tolerance_setting
from semples.export.codes import coco_rle
from semples.export.folder import place_photo
from semples.export.polygons import region_polygon
from semples.export.regions import Region, find_regions
from semples.export.source import ExportSource

Shapes = Literal["rle", "polygons"]
FILE = "instances.json"


@dataclass(frozen=True)
class Options:
    """How the annotations are written."""

    shapes: Shapes = setting("rle", "rle (exact) or polygons")
    min_area: int = min_area_setting()
    tolerance: float = tolerance_setting()
    photos: Photos = photos_setting("none")


class Coco(Exporter):
    """COCO JSON: one annotation a region, as run-length code (exact) or polygon."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write `instances.json` and, where wanted, the photos."""
        names = dict(source.photo_names)
        if options.photos != "none":
            for item in track(source.dataset.items, label="photos"):
                placed = place_photo(source.dataset, item, folder / "images" / item.id, options.photos)
                names[item.id] = placed.relative_to(folder / "images").as_posix()
        tree = coco_tree(source, names, shapes=options.shapes, min_area=options.min_area, tolerance=options.tolerance)
        write_text(folder / FILE, compact_json(tree))
        return (f"{len(tree['annotations'])} annotations; {FILE} opens in pycocotools and in most toolboxes",)


def coco_tree(
    source: ExportSource, names: dict[str, str], *, shapes: str, min_area: int, tolerance: float
) -> dict[str, Any]:
    """All photos and their regions as COCO has them; `names` are the photos' file names by id."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(track(source.dataset.items, label="export"), start=1):
        labels = source.label_map(item)
        height, width = labels.shape
        images.append({"id": number, "file_name": names[item.id], "width": width, "height": height})
        for region in find_regions(labels, min_area=min_area):
            segmentation: Any = coco_rle(region, labels.shape) if shapes == "rle" else _polygons(region, tolerance)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": region.index + 1,
                    "segmentation": segmentation,
                    "area": region.area,
                    "bbox": region.box,
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": f"{source.dataset.name}, labels by semples {__version__}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": index + 1, "name": name, "supercategory": ""}
            for index, name in enumerate(source.dataset.classes.names)
        ],
    }


def compact_json(tree: Any) -> str:
    """JSON on one line, non-ASCII kept readable."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _polygons(region: Region, tolerance: float) -> list[list[int]]:
    ring: list[int] = region_polygon(region, tolerance=tolerance).ravel().tolist()
    return [ring]
