"""A class called background is no class to learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from semples.data.dataset import open_dataset
from semples.data.importers import import_annotations
from tests import tiny


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tiny.save(path, np.zeros((20, 30, 3), np.uint8))


def test_tags(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "t.csv").write_text(
        "image,label\na.png,Background\nb.png,dog\nc.png,dog;background\n", encoding="utf-8"
    )
    made = import_annotations(tmp_path / "in", tmp_path / "out")
    assert made.classes == ("dog",)
    assert any("background" in note for note in made.notes)
    assert [item.tags for item in open_dataset(tmp_path / "out").items] == [(), (0,), (0,)]


def test_outlines(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    ring = [[2, 2, 10, 2, 10, 10, 2, 10]]
    tree = {
        "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}],
        "categories": [{"id": 0, "name": "background"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": ring},
            {"id": 2, "image_id": 1, "category_id": 0, "segmentation": [[0, 0, 30, 0, 30, 20, 0, 20]]},
        ],
    }
    (tmp_path / "in" / "a.json").write_text(json.dumps(tree), encoding="utf-8")
    made = import_annotations(tmp_path / "in", tmp_path / "out")
    assert (made.classes, made.masks) == (("dog",), 1)
    dataset = open_dataset(tmp_path / "out")
    mask = dataset.mask(dataset.items[0])
    assert mask is not None
    assert (mask == 1).sum() == 64
    assert (mask == 0).sum() == 600 - 64
