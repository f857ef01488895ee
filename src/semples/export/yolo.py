"""YOLO segmentation: text files with a polygon a region, and data.yaml.

    data.yaml               classes and folders; training takes its path
    images/train/           the photos, which YOLO finds its text files by
    labels/train/           NAME.txt: `class x1 y1 x2 y2 ...` a line in fractions of the photo; empty: background only
    names.csv               the photos' ids, where a name is not the id

A hole is part of its region's outline, through a cut of no width. Ignored pixels, which YOLO does not know, belong to
no region. `val` in data.yaml names the same photos, for YOLO demands one: figures there judge nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from semples.core.files import write_text
from semples.core.progress import track
from semples.export.base import Exporter, Photos, min_area_setting, photos_setting, tolerance_setting
from semples.export.folder import place_photo
from semples.export.polygons import region_polygon
from semples.export.regions import Region, find_regions
from semples.export.source import ExportSource
from semples.export.voc import write_names

INSET = 0.05  # pixels; YOLO's programs draw polygons with OpenCV


@dataclass(frozen=True)
class Options:
    """How the text files are written."""

    min_area: int = min_area_setting()
    tolerance: float = tolerance_setting()
    photos: Photos = photos_setting("copy")


class Yolo(Exporter):
    """YOLO segmentation: text files with a polygon a region, and data.yaml."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write photos, text files and data.yaml."""
        names = source.flat_names
        count = 0
        for item in track(source.dataset.items, label="export"):
            labels = source.label_map(item)
            lines = [
                _line(region, labels.shape, options.tolerance)
                for region in find_regions(labels, min_area=options.min_area)
            ]
            count += len(lines)
            write_text(folder / "labels" / "train" / f"{names[item.id]}.txt", "".join(lines))
            if options.photos != "none":
                place_photo(source.dataset, item, folder / "images" / "train" / names[item.id], options.photos)
        described = {
            "train": "images/train",
            "val": "images/train",
            "names": dict(enumerate(source.dataset.classes.names)),
        }
        write_text(folder / "data.yaml", yaml.safe_dump(described, allow_unicode=True, sort_keys=False))
        return (f"{count} regions; train YOLO on data.yaml", *write_names(folder / "names.csv", names))


def _line(region: Region, shape: tuple[int, ...], tolerance: float) -> str:
    ring = region_polygon(region, tolerance=tolerance, inset=INSET) / (shape[1], shape[0])
    return " ".join([str(region.index), *(f"{value:.6f}" for value in ring.ravel().tolist())]) + "\n"
