"""Label Studio: label maps as predictions that people correct.

    tasks.json      to be imported: a task a photo with one prediction
    config.xml      the labelling interface that fits it

Brush masks are exact, one a class and photo; polygons are one a region, a hole being part of its outline. The photos'
addresses are `prefix` and the photo's path below the folder that holds them all. The default prefix is that of Label
Studio's local file storage, whose document root (LOCAL_FILES_DOCUMENT_ROOT) then is that folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from semples import __version__
from semples.core.files import write_text
from semples.core.palette import voc_palette
from semples.core.progress import track
from semples.core.schema import setting
from semples.export.base import Exporter, min_area_setting, tolerance_setting
from semples.export.coco import compact_json
from semples.export.codes import brush_code
from semples.export.polygons import region_polygon
from semples.export.regions import find_regions
from semples.export.source import ExportSource

Shapes = Literal["brush", "polygons"]


@dataclass(frozen=True)
class Options:
    """How the tasks are written."""

    shapes: Shapes = setting("brush", "brush masks (exact) or polygons")
    min_area: int = min_area_setting()
    tolerance: float = tolerance_setting()
    prefix: str = setting("/data/local-files/?d=", "what photos' addresses begin with")


class LabelStudio(Exporter):
    """Label Studio: label maps as predictions that people correct."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write `tasks.json` and `config.xml`."""
        names = source.dataset.classes.names
        tasks = []
        for number, item in enumerate(track(source.dataset.items, label="export"), start=1):
            labels = source.label_map(item)
            results = [
                {
                    "id": f"{number}-{place}",
                    "type": kind,
                    "from_name": "label",
                    "to_name": "image",
                    "original_width": labels.shape[1],
                    "original_height": labels.shape[0],
                    "image_rotation": 0,
                    "value": value | {kind: [names[index]]},
                }
                for place, (index, kind, value) in enumerate(_shapes(labels, options), start=1)
            ]
            address = options.prefix + quote(source.photo_names[item.id])
            predictions = [{"model_version": f"semples {__version__}", "result": results}]
            tasks.append({"data": {"image": address}, "predictions": predictions})
        write_text(folder / "config.xml", _config(names, options))
        write_text(folder / "tasks.json", compact_json(tasks))
        return ("first paste config.xml into Settings, Labeling Interface, Code; then import tasks.json",)


def _shapes(labels: NDArray[np.uint8], options: Options) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Class index, kind and value of each shape of a label map (H, W)."""
    if options.shapes == "polygons":
        size = (labels.shape[1], labels.shape[0])
        for region in find_regions(labels, min_area=options.min_area):
            ring = region_polygon(region, tolerance=options.tolerance) * 100 / size
            yield region.index, "polygonlabels", {"points": ring.round(6).tolist(), "closed": True}
        return
    masks: dict[int, NDArray[np.bool_]] = {}
    for region in find_regions(labels, min_area=options.min_area):
        mask = masks.setdefault(region.index, np.zeros(labels.shape, np.bool_))
        mask[region.window] |= region.mask
    for index in sorted(masks):
        yield index, "brushlabels", {"format": "rle", "rle": brush_code(masks[index])}


def _config(names: tuple[str, ...], options: Options) -> str:
    control = "BrushLabels" if options.shapes == "brush" else "PolygonLabels"
    palette = voc_palette()
    lines = [
        "<View>",
        '  <Image name="image" value="$image" zoom="true"/>',
        f'  <{control} name="label" toName="image">',
    ]
    for index, name in enumerate(names):
        red, green, blue = palette[index + 1].tolist()
        lines.append(f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>')
    return "\n".join([*lines, f"  </{control}>", "</View>"]) + "\n"
