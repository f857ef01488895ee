"""Small datasets on disk, one builder for each reader: what the contract tests run every reader on."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from semples.core import cells, tars
from semples.core.errors import UserError


@dataclass(frozen=True)
class Sample:
    """A photo to be written: name without extension, (width, height), tag names, with or without a mask."""

    name: str
    size: tuple[int, int]
    tags: tuple[str, ...]
    masked: bool = True

    def pixels(self) -> NDArray[np.uint8]:
        width, height = self.size
        return np.random.default_rng(len(self.name) + width * height).integers(0, 256, (height, width, 3), np.uint8)

    def labels(self, classes: Sequence[str]) -> NDArray[np.uint8]:
        width, height = self.size
        values = [0, 255, *(classes.index(tag) + 1 for tag in self.tags)]
        return np.resize(np.array(values, np.uint8), (height, width))


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def write_xml(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(f"<object><name>{escape(name)}</name></object>" for name in names)
    path.write_text(f"<annotation><folder>x</folder>{objects}</annotation>", encoding="utf-8")


def write_classes(root: Path, classes: Sequence[str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "classes.txt", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([name, f"a {name}"] for name in classes)


def build_voc(root: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    write_classes(root, classes)
    for sample in samples:
        save(root / "JPEGImages" / f"{sample.name}.png", sample.pixels())
        write_xml(root / "Annotations" / f"{sample.name}.xml", sample.tags)
        if sample.masked:
            save(root / "SegmentationClass" / f"{sample.name}.png", sample.labels(classes))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{sample.name}\n" for sample in samples), encoding="utf-8")


def build_folder(root: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    write_classes(root, classes)
    for sample in samples:
        save(root / "images" / f"{sample.name}.png", sample.pixels())
        if sample.masked:
            save(root / "masks" / f"{sample.name}.png", sample.labels(classes))
    with open(root / "tags.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        writer.writerows([f"images/{sample.name}.png", ";".join(sample.tags)] for sample in samples)


def build_published(root: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    """Photos in train2014, lists and labels in coco, masks in mask/train2014."""
    write_classes(root, classes)
    for sample in samples:
        save(root / "train2014" / f"{sample.name}.png", sample.pixels())
        if sample.masked:
            save(root / "mask" / "train2014" / f"{sample.name}.png", sample.labels(classes))
    (root / "coco").mkdir()
    rows = {sample.name: np.array([name in sample.tags for name in classes], np.float32) for sample in samples}
    np.save(root / "coco" / "cls_labels.npy", np.array(rows, dtype=object), allow_pickle=True)
    listed = "".join(f"{sample.name}\n" for sample in samples)
    (root / "coco" / "train_id.txt").write_text(listed, encoding="utf-8")


def build_shards(root: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    """Photos, tags and masks in two tar archives."""
    write_classes(root, classes)
    for number in (0, 1):
        with tarfile.open(root / f"train-{number:06d}.tar", "w") as file:
            for sample in samples[number::2]:
                for suffix, data in _shard_files(sample, classes):
                    member = tarfile.TarInfo(f"{sample.name}{suffix}")
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))


def _shard_files(sample: Sample, classes: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for suffix, pixels in ((".png", sample.pixels()), (".mask.png", sample.labels(classes) if sample.masked else None)):
        if pixels is not None:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
            yield suffix, buffer.getvalue()
    yield ".json", json.dumps({"tags": list(sample.tags)}).encode()


def build_parquet(root: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    """Photos, tags and masks in the columns of two files, as `datasets` has them."""
    write_classes(root, classes)
    for number in (0, 1):
        rows = [row for index, row in enumerate(samples) if index % 2 == number]
        table = {
            "image": [{"bytes": png(row.pixels()), "path": f"{row.name}.png"} for row in rows],
            "tags": [list(row.tags) for row in rows],
            "mask": [{"bytes": png(row.labels(classes)), "path": None} if row.masked else None for row in rows],
        }
        write_parquet(root / "data" / f"train-{number:05d}-of-00002.parquet", table)


def write_parquet(path: Path, table: dict[str, list[Any]], **named: Any) -> Path:
    """A Parquet file of columns; pictures are {"bytes": ..., "path": ...} or None, lists of tags may be empty."""
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    kinds = {"image": picture, "mask": picture, "tags": pa.list_(pa.string())}
    types = {key: kinds[key] for key, cells in table.items() if key in kinds and not any(map(_is_scalar, cells))}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({key: pa.array(cells, types.get(key)) for key, cells in table.items()}), path, **named)
    return path


def _is_scalar(cell: object) -> bool:
    return isinstance(cell, str | bytes | int)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def damage(photo: Path) -> None:
    """Leave the first 200 bytes of a photo alone; in an archive zeros stand for the others."""
    cell = cells.inside(photo)
    if cell is not None:
        table = pq.read_table(cell.file)
        rows = table.column(cell.column).to_pylist()
        rows[cell.row]["bytes"] = rows[cell.row]["bytes"][:200]
        place = table.schema.get_field_index(cell.column)
        pq.write_table(table.set_column(place, table.schema.field(place), pa.array(rows)), cell.file)
        return
    where = tars.inside(photo)
    if where is None:
        photo.write_bytes(photo.read_bytes()[:200])
        return
    start, size = tars.members(where[0])[where[1]]
    with open(where[0], "r+b") as archive:
        archive.seek(start + 200)
        archive.write(bytes(size - 200))


def complaint(action: Callable[[], object]) -> str:
    """The message of the UserError that `action` raises, or nothing; any other error is passed on."""
    try:
        action()
    except UserError as error:
        return str(error)
    return ""


Builder = Callable[[Path, Sequence[str], Sequence[Sample]], None]
BUILDERS: dict[str, Builder] = {
    "voc": build_voc,
    "folder": build_folder,
    "published": build_published,
    "parquet": build_parquet,
    "shards": build_shards,
}
