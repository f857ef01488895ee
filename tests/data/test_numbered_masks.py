"""Masks in numbered folders, as runs write the label maps of many photos, found by every reader of folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semples.core.palette import write_confidence_png, write_label_png
from semples.core.places import number, place_of
from semples.data import check, open_dataset
from semples.data.dataset import TaggedDataset
from tests import tiny
from tests.data.builders import save

COUNT = 5


def as_written_by_a_run(masks: Path, most: int) -> Path:
    """The folder's masks as a run's label maps: `most` to a numbered folder, confidences and a step's files beside."""
    values = {path.stem: tiny.pixels(path) for path in masks.glob("*.png")}
    shutil.rmtree(masks)
    number(masks, values, suffix=".png", most=most)
    number(masks / "confidence", values, suffix=".png", most=most)
    for id, labels in values.items():
        write_label_png(place_of(masks, id, ".png"), labels)
        write_confidence_png(place_of(masks / "confidence", id, ".png"), np.full(labels.shape, 0.5, np.float32))
    for name in ("manifest.json", "corrected.json"):
        (masks / name).write_text("{}", encoding="utf-8")
    return masks


def a_folder(root: Path) -> tuple[Path, str]:
    return tiny.draw_photos(root / "photos", count=COUNT), "masks"


def voc(root: Path) -> tuple[Path, str]:
    return tiny.to_voc(a_folder(root)[0], root / "voc"), "SegmentationClass"


def published(root: Path) -> tuple[Path, str]:
    """Published class labels, and photos in a folder of their own."""
    photos, _ = a_folder(root)
    listed = open_dataset(photos)
    rows = {item.id: np.isin(np.arange(2), item.tags).astype(np.float32) for item in listed.items}
    (root / "coco" / "train2014").mkdir(parents=True)
    for path in photos.glob("*.png"):
        shutil.copy(path, root / "coco" / "train2014")
    shutil.copytree(photos / "masks", root / "coco" / "masks")
    shutil.copy(photos / "classes.txt", root / "coco")
    np.save(root / "coco" / "cls_labels.npy", np.array(rows, dtype=object), allow_pickle=True)
    return root / "coco", "masks"


def masks_of(dataset: TaggedDataset) -> dict[str, bytes]:
    masks = {item.id: dataset.mask(item) for item in dataset.items}
    return {id: mask.tobytes() for id, mask in masks.items() if mask is not None}


@pytest.mark.parametrize("most", [2, 9])
@pytest.mark.parametrize("layout", [a_folder, voc, published])
def test_masks_are_those_of_a_flat_folder(
    tmp_path: Path, layout: Callable[[Path], tuple[Path, str]], most: int
) -> None:
    root, name = layout(tmp_path)
    flat = masks_of(open_dataset(root))
    assert len(flat) == COUNT
    masks = as_written_by_a_run(root / name, most)
    assert (masks / "00002").is_dir() == (most == 2)
    dataset = open_dataset(root)
    assert masks_of(dataset) == flat
    assert not [slip for slip in check(dataset).slips if name in slip.where]


def test_what_a_person_adds_to_numbered_masks(tmp_path: Path) -> None:
    """A mask beside the numbered folders is found; one that belongs to no photo is named."""
    root, name = a_folder(tmp_path)
    last = tiny.pixels(root / name / "p04.png")
    (root / name / "p04.png").unlink()
    masks = as_written_by_a_run(root / name, 2)
    save(masks / "p04.png", last)
    save(masks / "00001" / "other.png", last)
    save(masks / "confidence" / "odd.png", last)
    dataset = open_dataset(root)
    assert masks_of(dataset)["p04"] == last.tobytes()
    assert len(masks_of(dataset)) == COUNT
    where = [slip.where for slip in check(dataset).slips]
    assert where == ["masks/00001/other.png", "masks/confidence/odd.png"]
