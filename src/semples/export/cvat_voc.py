"""CVAT, "Segmentation mask 1.1": a zip archive in the layout of VOC, exact.

    annotations.zip     labelmap.txt, ImageSets/Segmentation/default.txt, SegmentationClass/, SegmentationObject/

    labels.json         the labels with their colours, for CVAT's constructor ("Raw")

Masks are RGB pictures in the colours that labelmap.txt names. Each region is an object of its own, up to 255 a photo;
where there are more, the smallest of each class share one. CVAT finds its images by name: upload the photos so that
they keep their paths below the folder that holds them all. Ignored pixels, which it does not know, are background.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.errors import UserError
from semples.core.palette import colour, voc_palette
from semples.core.progress import track
from semples.export.base import Exporter, min_area_setting
from semples.export.cvat_coco import ARCHIVE, LABELS_REMARK, refuse_background, write_labels
from semples.export.folder import write_zip
from semples.export.regions import find_regions
from semples.export.source import ExportSource

MAX_OBJECTS = 255


@dataclass(frozen=True)
class Options:
    """How the masks are written."""

    min_area: int = min_area_setting()


class CvatVoc(Exporter):
    """CVAT, "Segmentation mask 1.1": a zip archive in the layout of VOC, exact."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write the archive."""
        members = {"labelmap.txt": _labelmap(source.dataset.classes.names).encode()}
        listed = []
        for item in track(source.dataset.items, label="export"):
            name = source.photo_names[item.id].rpartition(".")[0] or source.photo_names[item.id]
            classes, objects = _masks(source.label_map(item), options.min_area)
            members[f"SegmentationClass/{name}.png"] = _png(classes)
            members[f"SegmentationObject/{name}.png"] = _png(objects)
            listed.append(name)
        if len(members) < 1 + 2 * len(listed):
            raise UserError("two photos differ in their extension only, which CVAT's masks cannot tell; use cvat-coco")
        members["ImageSets/Segmentation/default.txt"] = "".join(f"{name}\n" for name in listed).encode()
        write_zip(folder / ARCHIVE, members)
        write_labels(folder, source.dataset.classes.names)
        return (LABELS_REMARK, f"then Upload annotations, Segmentation mask 1.1, {ARCHIVE}")


def _labelmap(names: tuple[str, ...]) -> str:
    """`name:red,green,blue:parts:actions` for background and each class, in the order of the labels."""
    refuse_background(names)
    lines = ["# label:color_rgb:parts:actions"]
    for name, (red, green, blue) in zip(("background", *names), voc_palette().tolist(), strict=False):
        if ":" in name or name.startswith("#"):
            raise UserError(f"class {name!r}: CVAT's label map allows no `:` and no leading `#`; use cvat-coco")
        lines.append(f"{name}:{red},{green},{blue}::")
    return "\n".join(lines) + "\n"


def _masks(labels: NDArray[np.uint8], min_area: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two maps (H, W) uint8 of the regions kept: labels, and numbers of objects from 1, each of one class."""
    classes, objects = np.zeros_like(labels), np.zeros_like(labels)
    regions = sorted(find_regions(labels, min_area=min_area), key=lambda region: -region.area)
    numbered = MAX_OBJECTS  # regions with a number of their own
    while numbered + len({region.index for region in regions[numbered:]}) > MAX_OBJECTS:
        numbered -= 1
    shared = sorted({region.index for region in regions[numbered:]})  # classes whose other regions have one together
    for number, region in enumerate(regions, start=1):
        classes[region.window][region.mask] = region.index + 1
        objects[region.window][region.mask] = (
            number if number <= numbered else numbered + 1 + shared.index(region.index)
        )
    return classes, objects


def _png(labels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colour(labels)).save(buffer, format="PNG")
    return buffer.getvalue()
