"""Exports opened by the programs they are for, where these are installed: datumaro (which CVAT reads with), the Label
Studio SDK, supervision."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from semples.export import ExportSource, export_labels
from tests.export.worlds import CLASSES, blobs, make_source


@pytest.fixture
def source(tmp_path: Path) -> ExportSource:
    return make_source(
        tmp_path, {"été/a b": blobs(90, 120), "c": blobs(61, 40, seed=1), "d": np.zeros((8, 9), np.uint8)}
    )


def truth(source: ExportSource, id: str) -> np.ndarray:
    labels = source.label_map(next(item for item in source.dataset.items if item.id == id))
    return np.where(labels == 255, 0, labels)


@pytest.mark.parametrize(("name", "format"), [("cvat-coco", "coco_instances"), ("cvat-voc", "voc_segmentation")])
def test_datumaro(name: str, format: str, source: ExportSource, tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    from datumaro.components.annotation import AnnotationType

    options = {"shapes": "rle"} if name == "cvat-coco" else {}
    export_labels(name, source, tmp_path / "out", **options)
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "out" / "annotations.zip") as archive:
        archive.extractall(unpacked)
    (unpacked / "images").mkdir()
    dataset = datumaro.Dataset.import_from(str(unpacked), format)
    names = [label.name for label in dataset.categories()[AnnotationType.label]]
    assert {item.id for item in dataset} == {"été/a b", "c", "d"}
    for item in dataset:
        labels = truth(source, item.id)
        read = np.zeros_like(labels)
        for annotation in item.annotations:
            if annotation.type == AnnotationType.mask:
                read[annotation.image.astype(bool)] = CLASSES.index(names[annotation.label]) + 1
        np.testing.assert_array_equal(read, labels)


def test_label_studio(source: ExportSource, tmp_path: Path) -> None:
    pytest.importorskip("label_studio_sdk")
    from label_studio_sdk.converter import brush
    from label_studio_sdk.label_interface import LabelInterface

    for shapes in ("brush", "polygons"):
        export_labels("labelstudio", source, tmp_path / shapes, shapes=shapes)
        interface = LabelInterface((tmp_path / shapes / "config.xml").read_text(encoding="utf-8"))
        interface.validate()
        tasks = json.loads((tmp_path / shapes / "tasks.json").read_text(encoding="utf-8"))
        for item, task in zip(source.dataset.items, tasks, strict=True):
            (prediction,) = task["predictions"]
            assert interface.validate_prediction(prediction, return_errors=True) == []
            if shapes == "brush":
                labels = truth(source, item.id)
                read = np.zeros_like(labels)
                for result in prediction["result"]:
                    drawn = brush.decode_rle(result["value"]["rle"]).reshape(*labels.shape, 4)
                    read[drawn[..., 3] > 0] = CLASSES.index(result["value"]["brushlabels"][0]) + 1
                np.testing.assert_array_equal(read, labels)


def test_supervision(source: ExportSource, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    export_labels("coco", source, tmp_path / "coco", photos="copy")
    export_labels("yolo", source, tmp_path / "yolo", tolerance=0)
    coco = supervision.DetectionDataset.from_coco(
        str(tmp_path / "coco/images"), str(tmp_path / "coco/instances.json"), force_masks=True
    )
    folder = tmp_path / "yolo"
    yolo = supervision.DetectionDataset.from_yolo(
        str(folder / "images/train"), str(folder / "labels/train"), str(folder / "data.yaml"), force_masks=True
    )
    for dataset, around in ((coco, 0), (yolo, 1)):  # its YOLO reader rounds and draws the outermost pixels too
        assert list(dataset.classes) == list(CLASSES)
        assert len(dataset) == 3
        for path, _, detections in dataset:
            labels = truth(source, next(item.id for item in source.dataset.items if item.id.endswith(Path(path).stem)))
            for index in range(len(CLASSES)):
                masks = (
                    [mask for mask, number in zip(detections.mask, detections.class_id, strict=True) if number == index]
                    if len(detections)
                    else []
                )
                inside = np.any([np.zeros(labels.shape, bool), *masks], axis=0)
                wanted = labels == index + 1
                assert not (wanted & ~inside).any()
                assert not (inside & ~widened(wanted, around)).any()


def widened(mask: np.ndarray, by: int) -> np.ndarray:
    """The mask and all pixels within `by` of it."""
    padded = np.pad(mask, by)
    height, width = mask.shape
    return np.any([padded[y : y + height, x : x + width] for y in range(2 * by + 1) for x in range(2 * by + 1)], axis=0)
