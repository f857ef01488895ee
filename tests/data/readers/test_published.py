"""VOC and COCO as published programs have them on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.data.class_labels import ClassLabels
from semples.data.coco_classes import CATEGORIES, COCO_CLASSES, PUBLISHED_COCO_CLASSES
from semples.data.dataset import VOC_CLASSES, open_dataset
from tests import tiny
from tests.data.builders import complaint, save

PIXELS = np.zeros((3, 4, 3), np.uint8)
NUMBER = {name: number for number, name in CATEGORIES.items()}


def save_labels(path: Path, rows: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(rows, dtype=object), allow_pickle=True)


def row(names: tuple[str, ...], classes=VOC_CLASSES) -> np.ndarray:
    return np.array([name in names for name in classes.names], np.float32)


def tags(root: Path, **more: object) -> dict[str, tuple[str, ...]]:
    dataset = open_dataset(root, **more)  # type: ignore[arg-type]
    return {item.id: tuple(dataset.classes.names[tag] for tag in item.tags) for item in dataset.items}


# -------------------------------------------------------------------------------------------------- names of photos

VOC_TAGS = {"2007_000032": ("aeroplane", "person"), "2008_000008": ("horse",), "2011_003276": ("sofa",)}


@pytest.mark.parametrize(
    "key",
    [
        str,
        lambda name: f"{name}.jpg",
        lambda name: f"JPEGImages/{name}.jpg",
        lambda name: f"/JPEGImages/{name}.png",
        lambda name: f"VOC2012\\JPEGImages\\{name}.JPG",
        lambda name: int(name.replace("_", "")),
        lambda name: np.int32(name.replace("_", "")),
        lambda name: np.int64(name.replace("_", "")),
        lambda name: name.replace("_", ""),
        lambda name: float(name.replace("_", "")),
        np.str_,
        lambda name: name.encode(),
    ],
)
def test_keys_of_class_labels(tmp_path: Path, key) -> None:
    for name in VOC_TAGS:
        save(tmp_path / "JPEGImages" / f"{name}.jpg", PIXELS)
    save_labels(tmp_path / "cls_labels.npy", {key(name): row(names) for name, names in VOC_TAGS.items()})
    assert tags(tmp_path) == VOC_TAGS


def test_a_number_that_two_photos_could_have_stands_for_none(tmp_path: Path) -> None:
    save_labels(tmp_path / "a.npy", {12: np.ones(1), 7: np.zeros(1), 112: np.zeros(1)})
    labels = ClassLabels.read(tmp_path / "a.npy", ["cat_12", "dog_12", "pig_7", "a1_12"])
    assert labels.of("cat_12", width=1) is None
    assert labels.of("pig_7", width=1).tolist() == [False]
    assert labels.of("a1_12", width=1).tolist() == [False]  # all digits in a row come before the last number
    save_labels(tmp_path / "b.npy", {"train/x": np.ones(1), "val/x": np.zeros(1), "val/y.jpg": np.ones(1)})
    labels = ClassLabels.read(tmp_path / "b.npy", ["train/x", "val/x", "val/y"])
    assert [labels.of(name, width=1).tolist() for name in ("train/x", "val/x", "y")] == [[True], [False], [True]]
    assert labels.of("x", width=1) is None


def test_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for rows, hint in (
        ({"x": np.zeros(21)}, "21 numbers; expected 20 numbers.*background is no class"),
        ({"x": "cat"}, "not a row of numbers"),
        ({"x.jpg": np.zeros(20), "x.png": np.ones(20)}, "names the photo 'x' twice, with other tags"),
        ({}, "not a dictionary"),
    ):
        save_labels(path, rows)
        with pytest.raises(UserError, match=hint):
            ClassLabels.read(path, ["x"]).of("x", width=20)
    save_labels(path, {"x": np.ones((1, 20)), "y": [0, 1]})
    labels = ClassLabels.read(path, ["x", "y"])
    assert labels.of("x", width=20).all()
    assert labels.of("y", width=2).tolist() == [False, True]


# ----------------------------------------------------------------------------------------------- VOC as they have it


@pytest.mark.parametrize("place", ["voc12", "VOCdevkit/voc12", "VOCdevkit/VOC2012/voc12"])
def test_voc_with_lists_and_labels_beside_it(tmp_path: Path, place: str) -> None:
    for name in VOC_TAGS:
        save(tmp_path / "VOCdevkit/VOC2012/JPEGImages" / f"{name}.jpg", PIXELS)
        save(tmp_path / "VOCdevkit/VOC2012/SegmentationClassAug" / f"{name}.png", PIXELS[..., 0])
    save_labels(tmp_path / place / "cls_labels.npy", {name: row(names) for name, names in VOC_TAGS.items()})
    first, second, third = VOC_TAGS
    (tmp_path / place / "train_aug_id.txt").write_text(f"{first}\n{second}\n", encoding="utf-8")
    (tmp_path / place / "train_id.txt").write_text(f"{first}\n", encoding="utf-8")
    (tmp_path / place / "val_id.txt").write_text(f"{third}\n", encoding="utf-8")
    assert list(tags(tmp_path)) == [first, second]
    assert all(item.mask is not None for item in open_dataset(tmp_path).items)
    assert list(tags(tmp_path, split="train")) == [first]
    assert tags(tmp_path, split="val") == {third: VOC_TAGS[third]}
    assert list(tags(tmp_path, split="val_id")) == [third]
    assert "train_aug, train_aug_id" in complaint(lambda: open_dataset(tmp_path, split="test"))


def test_a_list_from_anywhere(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    voc = tiny.to_voc(photos, tmp_path / "voc")
    (tmp_path / "mine.txt").write_text("p01\np02.png\n", encoding="utf-8")
    for folder in (photos, voc):
        dataset = open_dataset(folder, split=str(tmp_path / "mine.txt"))
        assert [item.id for item in dataset.items] == ["p01", "p02"]
        assert dataset.name.endswith("/mine")
        assert "no such list of photos" in complaint(lambda folder=folder: open_dataset(folder, split="other.txt"))


# ---------------------------------------------------------------------------------------------- COCO as they have it

COCO_TAGS = {9: ("bowl", "broccoli"), 25: ("giraffe",), 2014: ("person", "toothbrush"), 30: ("vase",)}


def coco_id(number: int, part: str = "train2014") -> str:
    return f"COCO_{part}_{number:012d}"


def build_coco(root: Path, *, labels: str, width: int, published: bool, keys=coco_id, lists=("train_1250_id",)) -> Path:
    classes = COCO_CLASSES if width == 80 else PUBLISHED_COCO_CLASSES
    for number, names in COCO_TAGS.items():
        save(root / "images" / "train2014" / f"{coco_id(number)}.jpg", PIXELS)
        values = [NUMBER[name] if published else COCO_CLASSES.names.index(name) + 1 for name in names]
        save(root / "mask" / "train2014" / f"{coco_id(number)}.png", np.resize(np.uint8([0, 255, *values]), (3, 4)))
    save_labels(root / labels, {keys(number): row(names, classes) for number, names in COCO_TAGS.items()})
    for name in lists:
        (root / labels).with_name(f"{name}.txt").write_text(
            "".join(f"{coco_id(number)}\n" for number in (9, 25, 30)), encoding="utf-8"
        )
    return root


@pytest.mark.parametrize("labels", ["coco/cls_labels.npy", "coco/voc_format/class_labels.npy", "cls_labels.npy"])
@pytest.mark.parametrize("width", [80, 90])
@pytest.mark.parametrize("published", [True, False])
def test_coco(tmp_path: Path, labels: str, width: int, published: bool) -> None:
    """Masks fit the class list whatever their numbering and the rows' width."""
    dataset = open_dataset(build_coco(tmp_path, labels=labels, width=width, published=published))
    assert dataset.classes == (PUBLISHED_COCO_CLASSES if published else COCO_CLASSES)
    assert [item.id for item in dataset.items] == [f"images/train2014/{coco_id(number)}" for number in (9, 25, 30)]
    for item, number in zip(dataset.items, (9, 25, 30), strict=True):
        assert {dataset.classes.names[tag] for tag in item.tags} == set(COCO_TAGS[number])
        values = set(np.unique(dataset.mask(item)).tolist()) - {0, 255}
        assert {dataset.classes.names[value - 1] for value in values} == set(COCO_TAGS[number])


@pytest.mark.parametrize("key", [int, str, lambda number: f"{coco_id(number)}.jpg", lambda number: f"{number:012d}"])
def test_coco_keys(tmp_path: Path, key) -> None:
    root = build_coco(tmp_path, labels="coco/cls_labels.npy", width=80, published=True, keys=key)
    by_photo = tags(root, split=str(tmp_path / "coco" / "train_1250_id.txt"))
    assert [set(names) for names in by_photo.values()] == [set(COCO_TAGS[number]) for number in (9, 25, 30)]


def test_coco_lists_and_lines(tmp_path: Path) -> None:
    root = build_coco(tmp_path, labels="coco/voc_format/class_labels.npy", width=80, published=True, lists=())
    folder = root / "coco" / "voc_format"
    lines = [f"/train2014/{coco_id(9)}.jpg /mask/train2014/{coco_id(9)}.png", f"{coco_id(25)} 1", "unknown", coco_id(9)]
    (folder / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "val_5000.txt").write_text(coco_id(2014), encoding="utf-8")
    dataset = open_dataset(root)
    assert [item.id[-3:] for item in dataset.items] == ["009", "025"]
    assert [problem.where for problem in dataset.problems] == ["train.txt, line 3", "train.txt, line 4"]
    assert list(tags(root, split="val")) == list(tags(root, split="val_5000")) == [f"images/train2014/{coco_id(2014)}"]
    assert "there are: train, val, val_5000" in complaint(lambda: open_dataset(root, split="test"))


@pytest.mark.parametrize("place", ["masks/train2014", "SegmentationClass", "coco/mask/train2014", "annotations/x"])
def test_where_masks_may_lie(tmp_path: Path, place: str) -> None:
    root = build_coco(tmp_path, labels="cls_labels.npy", width=90, published=True)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / "mask" / "train2014").rename(root / place)
    dataset = open_dataset(root)
    assert [item.mask for item in dataset.items] == [root / place / f"{coco_id(n)}.png" for n in (9, 25, 30)]


def test_other_widths_need_names(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", PIXELS)
    save_labels(tmp_path / "cls_labels.npy", {"a": np.array([1, 0, 1])})
    assert "write them in classes.txt" in complaint(lambda: open_dataset(tmp_path))
    (tmp_path / "classes.txt").write_text("x\ny\nz\n", encoding="utf-8")
    assert tags(tmp_path) == {"a": ("x", "z")}


def test_masks_of_a_converter_are_named_by_number(tmp_path: Path) -> None:
    """coco/voc_format/class_labels: label maps under COCO's numbers, in values and in names; lists of numbers."""
    root = build_coco(tmp_path, labels="coco/cls_labels.npy", width=80, published=True, lists=())
    masks = root / "coco" / "voc_format" / "class_labels"
    masks.mkdir(parents=True)
    for number in COCO_TAGS:
        (root / "mask" / "train2014" / f"{coco_id(number)}.png").rename(masks / f"{number}.png")
    save(root / "coco" / "voc_format" / "instance_labels" / "9.png", np.full((3, 4), 200, np.uint8))
    (root / "coco" / "voc_format" / "train.txt").write_text("25\n9\n", encoding="utf-8")
    dataset = open_dataset(root)
    assert [item.id[-3:] for item in dataset.items] == ["025", "009"]
    assert dataset.classes == PUBLISHED_COCO_CLASSES
    assert NUMBER["giraffe"] in np.unique(dataset.mask(dataset.items[0]))
    (root / "coco" / "cls_labels.npy").unlink()
    assert "semples data coco OUT --from" in complaint(lambda: open_dataset(root))
