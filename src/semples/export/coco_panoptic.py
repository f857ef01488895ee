"""COCO panoptic: a JSON file, and a picture for each photo whose colours are the numbers of its segments.

    panoptic.json       images, annotations with `segments_info`, categories; category k + 1 is class k, background last
    panoptic/NAME.png   RGB; red + 256 green + 65536 blue is the number of a segment, 0: no segment
    images/             the photos, where wanted

A region is a segment, and so is all background of a photo. Ignored pixels, and regions that are too small, are of no
segment, which the programs that read this leave out of their losses and scores.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.files import write_bytes, write_text
from semples.core.palette import voc_palette
from semples.core.progress import track
from semples.export.base import Exporter, Photos, min_area_setting, photos_setting
from semples.export.coco import compact_json
from semples.export.folder import place_photo
from semples.export.regions import find_regions
from semples.export.source import ExportSource

JSON, MASKS = "panoptic.json", "panoptic"
SPREAD = 0x9E3779  # odd: numbers times this, in 24 bits, are colours far apart, none of them twice


@dataclass(frozen=True)
class Options:
    """How segments are made."""

    min_area: int = min_area_setting()
    photos: Photos = photos_setting("none")


class CocoPanoptic(Exporter):
    """COCO panoptic: a JSON file, and a picture for each photo whose colours are the numbers of its segments."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write `panoptic.json`, the pictures and, where wanted, the photos."""
        classes = source.dataset.classes.names
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, item in enumerate(track(source.dataset.items, label="export"), start=1):
            labels, name = source.label_map(item), source.photo_names[item.id]
            if options.photos != "none":
                placed = place_photo(source.dataset, item, folder / "images" / item.id, options.photos)
                name = placed.relative_to(folder / "images").as_posix()
            segments, ids = _segments(labels, len(classes), options.min_area)
            write_bytes(folder / MASKS / f"{item.id}.png", _png(ids))
            images.append({"id": number, "file_name": name, "width": labels.shape[1], "height": labels.shape[0]})
            annotations.append({"image_id": number, "file_name": f"{item.id}.png", "segments_info": segments})
        write_text(
            folder / JSON,
            compact_json({"images": images, "annotations": annotations, "categories": _categories(classes)}),
        )
        return (f"{sum(len(entry['segments_info']) for entry in annotations)} segments; category {len(classes) + 1} is "
                "background, and what is of no segment is left out of losses and scores",)  # fmt: skip


def _segments(
    labels: NDArray[np.uint8], classes: int, min_area: int
) -> tuple[list[dict[str, Any]], NDArray[np.uint32]]:
    """What COCO tells of each segment of a label map (H,W), and each pixel's number, 0 for none."""
    ids = np.zeros(labels.shape, np.uint32)
    segments: list[dict[str, Any]] = []

    def add(category: int, window: tuple[slice, slice], mask: NDArray[np.bool_], box: list[int]) -> None:
        number = (len(segments) + 1) * SPREAD % 2**24
        ids[window][mask] = number
        about = {"id": number, "category_id": category, "area": int(mask.sum()), "bbox": box, "iscrowd": 0}
        segments.append(about)

    ground = labels == 0
    if ground.any():
        down, along = np.flatnonzero(ground.any(1)), np.flatnonzero(ground.any(0))
        box = [along[0], down[0], along[-1] - along[0] + 1, down[-1] - down[0] + 1]
        add(classes + 1, (slice(None), slice(None)), ground, [int(value) for value in box])
    for region in find_regions(labels, min_area=min_area):
        add(region.index + 1, region.window, region.mask, region.box)
    return segments, ids


def _png(ids: NDArray[np.uint32]) -> bytes:
    picture = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def _categories(classes: tuple[str, ...]) -> list[dict[str, Any]]:
    colours = voc_palette().tolist()
    named = (*classes, "background" if "background" not in classes else "no class")
    return [
        {
            "id": number,
            "name": name,
            "supercategory": "",
            "isthing": int(number <= len(classes)),
            "color": colours[number % 255],
        }
        for number, name in enumerate(named, start=1)
    ]
