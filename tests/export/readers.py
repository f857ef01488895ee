"""Each format read back as label maps, by the library it is made for or by its published description."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from semples.data.importers.brush import brush_to_rle
from semples.data.outlines import decode_rle, draw_polygons
from semples.export import ExportSource

Maps = dict[str, np.ndarray]  # label map by id; 255 where the format tells ignored pixels


def ids_by_name(folder: Path, source: ExportSource) -> dict[str, str]:
    """Ids by the names that a format without folders gave."""
    if not (folder / "names.csv").is_file():
        return {item.id: item.id for item in source.dataset.items}
    with open(folder / "names.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: row["id"] for row in csv.DictReader(file)}


def by_photo(source: ExportSource) -> dict[str, str]:
    """Ids by photos' paths."""
    return {name: id for id, name in source.photo_names.items()}


def read_voc(folder: Path, source: ExportSource) -> Maps:
    names = (folder / "ImageSets/Segmentation/train.txt").read_text(encoding="utf-8").splitlines()
    maps = {}
    for name in names:
        with Image.open(folder / "SegmentationClass" / f"{name}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[3:6] == [128, 0, 0]
            maps[ids_by_name(folder, source)[name]] = np.array(image)
    return maps


def read_coco(folder: Path, source: ExportSource) -> Maps:
    return coco_maps(folder / "instances.json", by_photo(source), source.dataset.classes.names)


def coco_maps(path: Path, ids: Mapping[str, str], classes: tuple[str, ...]) -> Maps:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(classes)
    maps = {}
    for image in coco.loadImgs(coco.getImgIds()):
        labels = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            inside = coco.annToMask(annotation).astype(bool)
            x, y, width, _ = annotation["bbox"]
            assert not inside[: int(y)].any()
            assert not inside[:, int(x + width) :].any()
            if isinstance(annotation["segmentation"], dict):
                assert annotation["area"] == inside.sum()
                assert annotation["bbox"] == coco_mask.toBbox(coco.annToRLE(annotation)).tolist()
            labels[inside] = annotation["category_id"]
        maps[ids[image["file_name"]]] = labels
    return maps


def read_yolo(folder: Path, source: ExportSource) -> Maps:
    described = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert described["names"] == dict(enumerate(source.dataset.classes.names))
    ids = ids_by_name(folder, source)
    maps = {}
    for path in sorted((folder / described["train"]).iterdir()):
        with Image.open(path) as image:
            width, height = image.size
        labels = np.zeros((height, width), np.uint8)
        text = folder / "labels" / "train" / f"{path.stem}.txt"
        for line in text.read_text(encoding="utf-8").splitlines():
            number, *values = line.split()
            fractions = np.array(values, float)
            assert len(values) >= 6
            assert len(values) % 2 == 0
            assert fractions.min() >= 0
            assert fractions.max() <= 1
            polygon = (fractions.reshape(-1, 2) * (width, height)).ravel().tolist()
            labels[draw_polygons([polygon], (width, height))] = int(number) + 1
        maps[ids[path.stem]] = labels
    return maps


def read_labelstudio(folder: Path, source: ExportSource) -> Maps:
    root = ElementTree.fromstring((folder / "config.xml").read_text(encoding="utf-8"))
    control = root[1]
    assert root[0].attrib["name"] == control.attrib["toName"] == "image"
    names = [label.attrib["value"] for label in control]
    assert names == list(source.dataset.classes.names)
    maps = {}
    seen: set[str] = set()
    for task in json.loads((folder / "tasks.json").read_text(encoding="utf-8")):
        id = by_photo(source)[unquote(task["data"]["image"].partition("?d=")[2])]
        item = next(item for item in source.dataset.items if item.id == id)
        width, height = source.size(item)
        labels = np.zeros((height, width), np.uint8)
        for result in task["predictions"][0]["result"]:
            assert (result["from_name"], result["to_name"]) == (control.attrib["name"], "image")
            assert (result["original_width"], result["original_height"]) == (width, height)
            assert result["type"] == control.tag.lower()
            assert result["id"] not in seen
            seen.add(result["id"])
            value = result["value"]
            if result["type"] == "brushlabels":
                inside = decode_rle(brush_to_rle(value["rle"], (width, height)), (width, height))
            else:
                points = np.array(value["points"]) / 100 * (width, height)
                inside = draw_polygons([points.ravel().tolist()], (width, height))
            labels[inside] = names.index(value[result["type"]][0]) + 1
        maps[id] = labels
    return maps


def read_cvat_coco(folder: Path, source: ExportSource) -> Maps:
    with zipfile.ZipFile(folder / "annotations.zip") as archive:
        assert archive.namelist() == ["annotations/instances_default.json"]
        path = folder.parent / "unpacked.json"
        path.write_bytes(archive.read("annotations/instances_default.json"))
    return coco_maps(path, by_photo(source), source.dataset.classes.names)


def read_cvat_voc(folder: Path, source: ExportSource) -> Maps:
    ids = {name.rpartition(".")[0]: id for name, id in by_photo(source).items()}
    with zipfile.ZipFile(folder / "annotations.zip") as archive:
        lines = archive.read("labelmap.txt").decode().splitlines()[1:]
        colours = [tuple(map(int, line.split(":")[1].split(","))) for line in lines]
        assert [line.split(":")[0] for line in lines] == ["background", *source.dataset.classes.names]
        maps = {}
        for name in archive.read("ImageSets/Segmentation/default.txt").decode().splitlines():
            picture = _rgb(archive.read(f"SegmentationClass/{name}.png"))
            labels = np.full(picture.shape[:2], 255, np.uint8)
            for label, colour in enumerate(colours):
                labels[(picture == colour).all(axis=2)] = label
            assert (labels < 255).all()
            objects = _rgb(archive.read(f"SegmentationObject/{name}.png"))
            np.testing.assert_array_equal(objects.any(axis=2), labels > 0)
            maps[ids[name]] = labels
    return maps


def _rgb(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        return np.array(image)


def read_fma_wsss(folder: Path, source: ExportSource) -> Maps:
    """The seeds; what `np.load` makes of the CAMs is checked on the way."""
    maps = {}
    for name in (folder / "train.txt").read_text(encoding="utf-8").splitlines():
        id = ids_by_name(folder, source)[name]
        # As other programs read it: these files were written a moment ago.
        cams = np.load(folder / "cams" / f"{name}.npy", allow_pickle=True).item()
        assert isinstance(cams, dict)
        with Image.open(folder / "seeds" / f"{name}.png") as image:
            assert image.mode == "P"
            maps[id] = np.array(image)
        for index, cam in cams.items():
            assert type(index) is int
            assert 0 <= index < len(source.dataset.classes)
            assert cam.dtype == np.float32
            assert cam.shape == maps[id].shape
            assert 0 <= cam.min() <= cam.max() <= 1
    return maps


READERS: dict[str, Callable[[Path, ExportSource], Maps]] = {
    "voc": read_voc,
    "coco": read_coco,
    "yolo": read_yolo,
    "labelstudio": read_labelstudio,
    "cvat-coco": read_cvat_coco,
    "cvat-voc": read_cvat_voc,
    "fma-wsss": read_fma_wsss,
}


def files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, with its bytes, by name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield PurePosixPath(path.relative_to(folder)).as_posix(), path.read_bytes()
