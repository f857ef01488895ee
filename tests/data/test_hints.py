from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.data import open_dataset
from semples.data.coco_classes import CATEGORIES
from semples.data.dataset import VOC_CLASSES
from semples.data.hints import (
    confusions,
    hard_classes,
    leaks,
    lists_to_compare,
    near_names,
    open_lists,
    same_content,
    small_photos,
)  # fmt: skip
from tests.data.builders import Sample, build_folder, build_voc


def test_same_content(tmp_path: Path) -> None:
    for name, data in {"a": b"12", "b": b"34", "c": b"12", "d": b"123", "e": b"", "f": b"", "g": b"34"}.items():
        (tmp_path / name).write_bytes(data)
    groups = same_content([*(tmp_path / name for name in "gfedcba"), tmp_path / "none"])
    assert sorted("".join(path.name for path in group) for group in groups) == ["ca", "gb"]


def splits(root: Path, lists: dict[str, list[str]]) -> None:
    (root / "splits").mkdir()
    for name, members in lists.items():
        (root / f"splits/{name}.txt").write_text("".join(f"{member}\n" for member in members), encoding="utf-8")


def test_leaks_by_content_and_by_name(tmp_path: Path) -> None:
    samples = [Sample(name, (9, 9 + number), ("cat",)) for number, name in enumerate("abcdef")]
    build_folder(tmp_path, ["cat"], samples)
    (tmp_path / "images/copy.png").write_bytes((tmp_path / "images/b.png").read_bytes())
    (tmp_path / "images/twin.png").write_bytes((tmp_path / "images/a.png").read_bytes())
    with open(tmp_path / "tags.csv", "a", encoding="utf-8") as file:
        file.write("copy,cat\ntwin,cat\n")
    splits(
        tmp_path, {"train": ["a", "b", "c", "twin"], "val": ["c", "copy", "d"], "test": ["e"], "train_all": ["a", "f"]}
    )
    lists = open_lists(open_dataset(tmp_path))
    assert list(lists) == ["test", "train", "train_all", "val"]
    said = {(problem.where, problem.what.partition(":")[0]) for problem in leaks(lists)}
    assert said == {
        ("images/c", "is in train and, as images/c, in val"),
        ("images/b", "is in train and, as images/copy, in val"),
    }


def test_no_leaks_in_voc_whose_trainval_is_both(tmp_path: Path) -> None:
    build_voc(tmp_path, ["cat"], [Sample("a", (9, 9), ("cat",)), Sample("b", (9, 8), ("cat",))])
    lists = tmp_path / "ImageSets/Segmentation"
    for name, members in {"train": "a\n", "val": "b\n", "trainval": "a\nb\n", "empty_val": ""}.items():
        (lists / f"{name}.txt").write_text(members, encoding="utf-8")
    opened = open_lists(open_dataset(tmp_path))
    assert list(opened) == ["train", "val"]
    assert leaks(opened) == ()


def test_which_lists_are_compared() -> None:
    assert lists_to_compare(["val", "train_aug", "trainval", "mine", "minival", "test2007"]) == [
        ("train_aug", "minival"), ("train_aug", "test2007"), ("train_aug", "val"),
    ]  # fmt: skip
    assert lists_to_compare(["train", "train_all"]) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dog", "Dog"), ("dog", "dogs"), ("tv monitor", "tv_monitor"), ("tvmonitor", "TV-Monitor"), ("café", "cafe"),
        ("bicycle", "bycicle"), ("bicycle", "bicycl"), ("bicycle", "bicyclee"), ("person", "persen"), ("bus", "BUS"),
    ],
)  # fmt: skip
def test_two_spellings_of_one(first: str, second: str) -> None:
    for names, counts in (((first, second), (100, 3)), ((second, first), (3, 100))):
        (hint,) = near_names(names, counts)
        assert hint.where == second
        assert repr(first) in hint.what
        assert "3 and 100 photos" in hint.what


@pytest.mark.parametrize(
    ("first", "second"),
    [("cat", "car"), ("boat", "goat"), ("dog", "cow"), ("bus", "boss"), ("grass", "gras"), ("日", "本")],
)
def test_two_things(first: str, second: str) -> None:
    assert near_names((first, second), (100, 3)) == ()


def test_common_classes_one_letter_apart_are_two() -> None:
    assert near_names(("horse", "house"), (100, 90)) == ()
    assert len(near_names(("horse", "house"), (100, 2))) == 1


@pytest.mark.parametrize("names", [VOC_CLASSES.names, tuple(CATEGORIES.values())])
def test_published_classes_are_all_different(names: tuple[str, ...]) -> None:
    assert near_names(names, range(1, 1000 * len(names), 1000)) == ()


LETTERS = st.text(st.sampled_from("abc"), min_size=5, max_size=6)


@given(LETTERS, LETTERS)
def test_one_letter_apart_against_brute_force(first: str, second: str) -> None:
    edits = {first[:k] + first[k + 1 :] for k in range(len(first))}
    edits |= {first[:k] + c + first[k:] for k in range(len(first) + 1) for c in "abc"}
    edits |= {first[:k] + c + first[k + 1 :] for k in range(len(first)) for c in "abc"}
    edits |= {first[:k] + first[k + 1] + first[k] + first[k + 2 :] for k in range(len(first) - 1)}
    assert bool(near_names((first, second), (100, 1))) == (second in edits - {first} or first == second)


def test_small_photos() -> None:
    hints = small_photos({"a": (64, 64), "b": (63, 500), "c": (500, 10)})
    assert [(hint.where, hint.what.partition(" ")[0]) for hint in hints] == [("b", "63x500"), ("c", "500x10")]
    assert small_photos({"a": (20, 20)}, min_side=20) == ()


def test_hard_classes() -> None:
    names = ("none", "few", "enough", "all")
    hints = hard_classes(names, (0, 19, 20, 95), 100)
    assert [hint.where for hint in hints] == ["few", "all"]
    assert hints[0].what.startswith("19 photos; fewer than 20")
    assert "95 of 100" in hints[1].what
    assert hard_classes(names, (0, 3, 3, 3), 3, min_photos=3) != ()


def test_confusions() -> None:
    names = ("train", "car", "person", "boat")
    # 1000 photos: train with car in 61 of 100; person nearly everywhere; boat with train in 4.
    together = np.array([[100, 61, 90, 4], [61, 200, 180, 0], [90, 180, 880, 5], [4, 0, 5, 5]])
    (hint,) = confusions(names, together.tolist(), 1000)
    assert hint.where == "train"
    assert hint.what == "train and car in 61 % of the photos with train (61 of 100): expect confusion"


def test_strongest_first_and_rarer_class_named() -> None:
    together = [[10, 10, 6], [10, 12, 0], [6, 0, 9]]
    hints = confusions(("a", "b", "c"), together, 100)
    assert [hint.what.partition(" of")[0] for hint in hints] == ["a and b in 100 %", "c and a in 67 %"]
    assert confusions((), (), 0) == ()


def test_unreadable_files_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"12")
    os.symlink(tmp_path / "nowhere", tmp_path / "c")
    assert len(same_content([tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path])) == 1
