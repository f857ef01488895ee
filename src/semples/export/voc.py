"""PASCAL VOC tree: label maps as palette PNG, exact, with ignored pixels.

SegmentationClass/              NAME.png: 0 background, class k as k + 1, 255 ignore
ImageSets/Segmentation/         train.txt, one name a line
classes.txt                     the classes in order
names.csv                       the photos' ids, where a name is not the id (VOC knows no folders)
JPEGImages/                     the photos as JPEG, where wanted
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semples.core.files import write_text
from semples.core.palette import write_label_png
from semples.core.progress import track
from semples.data.classes import ClassList
from semples.export.base import Exporter, Photos, photos_setting
from semples.export.folder import place_photo
from semples.export.source import ExportSource

JPEG = ("JPEG",)  # programs look for NAME.jpg


@dataclass(frozen=True)
class Options:
    """How the tree is written."""

    photos: Photos = photos_setting("none")


class Voc(Exporter):
    """PASCAL VOC tree: label maps as palette PNG, exact, with ignored pixels."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write the tree."""
        names = source.flat_names
        recoded = 0
        for item in track(source.dataset.items, label="export"):
            name = names[item.id]
            write_label_png(folder / "SegmentationClass" / f"{name}.png", source.label_map(item))
            if options.photos != "none":
                stem = folder / "JPEGImages" / name
                placed = place_photo(source.dataset, item, stem, options.photos, formats=JPEG)
                recoded += placed.suffix.casefold() != item.photo.suffix.casefold()
        write_text(folder / "ImageSets" / "Segmentation" / "train.txt", "".join(f"{name}\n" for name in names.values()))
        write_classes(folder / "classes.txt", source.dataset.classes)
        told = f"{recoded} photos that are no JPEG were written as JPEG of quality 95, as VOC has them"
        remarks = ("the layout of VOC 2012, which most toolboxes read", *([told] if recoded else []))
        return (*remarks, *write_names(folder / "names.csv", names))


def write_classes(path: Path, classes: ClassList) -> None:
    """A class list that this program reads: `name`, or `name,prompt word` where that differs, a line."""
    rows = [
        (name,) if name == prompt else (name, prompt)
        for name, prompt in zip(classes.names, classes.prompts, strict=True)
    ]
    write_text(path, _csv(rows))


def write_names(path: Path, names: dict[str, str]) -> tuple[str, ...]:
    """A table of names and ids where any differ, and the remark that tells of it."""
    if all(id == name for id, name in names.items()):
        return ()
    write_text(path, _csv([("name", "id"), *((name, id) for id, name in names.items())]))
    return (f"the format knows no folders, so photos have shorter names; {path.name} tells which is which",)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
