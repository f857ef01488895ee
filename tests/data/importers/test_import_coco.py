"""Annotations in the COCO format, imported and read back by the folder reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semples.data.importers.importing import import_annotations
from tests.data.importers.importing import coco_tree, masks, photo, polygon_mask, tags, where_and_what, write
from tests.data.test_outlines import square


def test_coco(tmp_path: Path) -> None:
    for name in "abc":
        photo(tmp_path / f"photos/train/{name}.jpg")
    source = write(tmp_path / "x.json", coco_tree())
    result = import_annotations(source, tmp_path / "out", photos=tmp_path / "photos")
    assert result.format == "coco"
    assert result.classes == ("big cat", "dog", "never")
    assert tags(tmp_path / "out") == {
        "images/train/a": {"dog", "big cat"}, "images/train/b": {"dog", "big cat"},
    }  # fmt: skip
    drawn = masks(tmp_path / "out")
    assert sorted(drawn) == ["images/train/a"]
    expected = polygon_mask((40, 30), (2, square(0, 0, 9)), (1, square(5, 5, 20)))
    np.testing.assert_array_equal(drawn["images/train/a"], expected)
    assert (result.photos, result.masks) == (2, 1)
    assert where_and_what(result) == [
        "x.json, image 3: train/c.jpg: set aside; the category of annotation 5 is not in the file",
        "x.json, image 4: gone.jpg: no such photo",
        "x.json, image 2: train/b.jpg: no mask; not everything on it has an outline",
    ]
    assert tags(tmp_path / "out", "train") == tags(tmp_path / "out")
    assert (tmp_path / "out/images/train/a.jpg").stat().st_ino == (tmp_path / "photos/train/a.jpg").stat().st_ino


def test_a_category_that_only_groups_the_others_is_no_class(tmp_path: Path) -> None:
    for name in "abc":
        photo(tmp_path / f"{name}.jpg")
    categories = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "animals"},
        {"id": 7, "name": "dog", "supercategory": "dog"},
        {"id": 9, "name": "never", "supercategory": "animals"},
    ]
    result = import_annotations(write(tmp_path / "x.json", coco_tree(categories=categories)), tmp_path / "out")
    assert result.classes == ("cat", "dog", "never")


def test_coco_sizes_must_fit_and_codes_are_read(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", (41, 30))
    photo(tmp_path / "b.jpg")
    photo(tmp_path / "c.jpg")
    code = {"size": [30, 40], "counts": [0, 30, 1170]}
    tree = coco_tree(annotations=[
        {"image_id": 1, "category_id": 7, "segmentation": square(0, 0, 9)},
        {"image_id": 2, "category_id": 7, "segmentation": code, "iscrowd": 1},
        {"image_id": 3, "category_id": 7, "segmentation": {"size": [30, 40], "counts": [7]}},
    ])  # fmt: skip
    result = import_annotations(write(tmp_path / "x.json", tree), tmp_path / "out")
    drawn = masks(tmp_path / "out")
    assert list(drawn) == ["images/b"]
    assert drawn["images/b"][:, 0].tolist() == [2] * 30
    assert drawn["images/b"].sum() == 60
    assert "(40, 30) pixels, but the photo has (41, 30)" in where_and_what(result)[1]
    assert "does not fill its photo" in where_and_what(result)[2]


def test_one_box_among_outlines_of_its_class_leaves_no_mask(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    notes = [
        {"image_id": 1, "category_id": 7, "segmentation": square(0, 0, 9)},
        {"image_id": 1, "category_id": 7, "bbox": [20, 20, 5, 5]},
    ]
    result = import_annotations(write(tmp_path / "x.json", coco_tree(annotations=notes)), tmp_path / "out")
    assert result.masks == 0
    assert "not everything on it has an outline" in where_and_what(result)[-1]


def test_coco_in_the_folders_of_its_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        photo(tmp_path / f"in/{split}/a.jpg", colour=len(split))
        tree = coco_tree(images=[{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}])
        write(tmp_path / f"in/{split}/_annotations.coco.json", tree)
    import_annotations(tmp_path / "in", tmp_path / "out", masks=False)
    assert list(tags(tmp_path / "out", "train")) == ["images/train/a"]
    assert list(tags(tmp_path / "out", "val")) == ["images/valid/a"]
    assert masks(tmp_path / "out") == {}
