"""Photos, annotation files, and what is read back of them, for the tests of every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semples.data import open_dataset
from semples.data.importers.importing import ImportResult
from tests.data.test_outlines import square

mask_api = pytest.importorskip("pycocotools.mask")


def photo(path: Path, size: tuple[int, int] = (40, 30), colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 9, len(path.name))).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def tags(root: Path, split: str | None = None) -> dict[str, set[str]]:
    dataset = open_dataset(root, split=split)
    assert dataset.problems == ()
    return {item.id: {dataset.classes.names[tag] for tag in item.tags} for item in dataset.items}


def masks(root: Path) -> dict[str, np.ndarray]:
    dataset = open_dataset(root)
    return {item.id: mask for item in dataset.items if (mask := dataset.mask(item)) is not None}


def polygon_mask(size: tuple[int, int], *things: tuple[int, list[list[float]]]) -> np.ndarray:
    labels = np.zeros((size[1], size[0]), np.uint8)
    for label, polygons in reversed(things):
        labels[mask_api.decode(mask_api.merge(mask_api.frPyObjects(polygons, size[1], size[0]))) == 1] = label
    return labels


def where_and_what(result: ImportResult) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in result.problems]


def coco_tree(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
            {"id": 2, "file_name": "b.jpg", "width": 40, "height": 30},
            {"id": 3, "file_name": "c.jpg", "width": 40, "height": 30},
            {"id": 4, "file_name": "gone.jpg", "width": 40, "height": 30},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "  big   cat "}, {"id": 9, "name": "never"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": square(0, 0, 9), "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": square(5, 5, 20), "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 3, "bbox": [1, 1, 9, 9]},
            {"id": 4, "image_id": 2, "category_id": 7, "segmentation": square(0, 0, 9)},
            {"id": 5, "image_id": 3, "category_id": 99, "segmentation": []},
        ],
    } | changes
