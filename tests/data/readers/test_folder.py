from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.data.classes import VOC_CLASSES
from semples.data.dataset import TaggedDataset, open_dataset
from semples.data.names import PhotoFinder, unique_ids
from tests.data.builders import save

PIXELS = np.zeros((3, 4, 3), np.uint8)
LABELS = np.zeros((3, 4), np.uint8)


def make(root: Path, photos: list[str], table: str, *, file: str = "tags.csv") -> None:
    for photo in photos:
        path = save(root / (photo + ".png"), PIXELS)
        path.rename(root / photo)
    (root / file).write_text(table, encoding="utf-8")


def tags(dataset: TaggedDataset) -> dict[str, tuple[str, ...]]:
    return {item.id: tuple(dataset.classes.names[tag] for tag in item.tags) for item in dataset.items}


def problems(dataset: TaggedDataset) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in dataset.problems]


def test_names_as_people_write_them(tmp_path: Path) -> None:
    photos = ["images/a.jpg", "images/deep/b.PNG", "c d.webp", unicodedata.normalize("NFD", "é.jpg"), "photo.v2.jpg"]
    table = "image,tags\na,cat\ndeep\\B.png,dog\n./c d,\né.jpg,cat;dog\nphoto.v2,dog\n"
    make(tmp_path, photos, table)
    dataset = open_dataset(tmp_path)
    assert problems(dataset) == []
    assert tags(dataset) == {
        "images/a": ("cat",),
        "images/deep/b": ("dog",),
        "c d": (),
        "é": ("cat", "dog"),
        "photo.v2": ("dog",),
    }
    for item in dataset.items:
        assert dataset.photo(item).shape == (3, 4, 3)


def test_rows_that_do_not_fit_are_problems(tmp_path: Path) -> None:
    table = "image,tags\na.jpg,cat\nnone.jpg,cat\n../a.jpg,cat\n/etc/passwd,cat\na.jpg,cat\nb.jpg,dog\n"
    table += "b.jpg,cat;dog\nc,dog\n"
    make(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "c.png", "lonely.jpg"], table)
    dataset = open_dataset(tmp_path)
    assert tags(dataset) == {"a": ("cat",), "b": ("cat", "dog")}
    assert problems(dataset) == [
        "tags.csv, line 3: none.jpg: no such photo",
        "tags.csv, line 4: '../a.jpg': not a path below the dataset's folder",
        "tags.csv, line 5: '/etc/passwd': not a path below the dataset's folder",
        "tags.csv, line 8: b.jpg: named before with other tags; the tags of both are used",
        "tags.csv, line 9: c: may be any of c.jpg, c.png; write the extension",
        "c.jpg: no row in tags.csv; background only is a row without tags",
        "c.png: no row in tags.csv; background only is a row without tags",
        "lonely.jpg: no row in tags.csv; background only is a row without tags",
    ]


def test_unknown_classes_set_the_photo_aside(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], "image,tags\na.jpg,cat\nb.jpg,Cat\nc.jpg,cat;wombat\n")
    (tmp_path / "classes.txt").write_text("dog\ncat\n", encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert tags(dataset) == {"a": ("cat",)}
    assert dataset.items[0].tags == (1,)
    assert problems(dataset) == [
        "tags.csv, line 3: tag 'Cat' is not in the class list; the photo is set aside; write 'cat'",
        "tags.csv, line 4: tag 'wombat' is not in the class list; the photo is set aside; "
        "correct it or add it to the class list",
    ]


def test_class_order(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", "b.jpg"], "image,tags\na.jpg,dog\nb.jpg,ant;cat\n")
    assert open_dataset(tmp_path).classes.names == ("ant", "cat", "dog")  # alphabetical, whatever the rows' order
    (tmp_path / "tags.csv").write_text("image,zebra,ant\na,1,0\nb,0,0\n", encoding="utf-8")
    assert open_dataset(tmp_path).classes.names == ("zebra", "ant")  # the columns' own


@pytest.mark.parametrize(
    ("folder", "tag", "voc"),
    [("SegmentationClass", "cat", True), ("SegmentationClassAug", "cat", True), ("masks", "cat", False),
     ("SegmentationClass", "wombat", False)],
)  # fmt: skip
def test_voc_masks_bring_vocs_class_list(tmp_path: Path, folder: str, tag: str, voc: bool) -> None:
    make(tmp_path, ["JPEGImages/a.jpg"], f"image,tags\nJPEGImages/a.jpg,person;{tag}\n")
    save(tmp_path / folder / "a.png", LABELS)
    dataset = open_dataset(tmp_path)
    assert (dataset.classes == VOC_CLASSES) is voc
    assert dataset.items[0].mask == tmp_path / folder / "a.png"
    if not voc:
        assert dataset.classes.names == tuple(sorted({"person", tag}))


def test_masks_are_not_photos_and_find_theirs(tmp_path: Path) -> None:
    photos = ["images/x/a.jpg", "images/y/a.jpg", "b.jpg", "twin.jpg", "twin.png", "none.jpg"]
    make(tmp_path, photos, "image,tags\n" + "".join(f"{photo},cat\n" for photo in photos))
    for mask in ("x/a", "images/y/a", "b", "twin", "twin.jpg", "unrelated"):
        save(tmp_path / "masks" / f"{mask}.png", LABELS)
    save(tmp_path / "masks" / "none.jpg.png", LABELS).rename(tmp_path / "masks" / "none.jpg")  # lossy: no mask
    dataset = open_dataset(tmp_path)
    assert problems(dataset) == []
    by_photo = {
        item.id: None if item.mask is None else item.mask.relative_to(tmp_path).as_posix() for item in dataset.items
    }
    assert by_photo == {
        "images/x/a": "masks/x/a.png",
        "images/y/a": "masks/images/y/a.png",
        "b": "masks/b.png",
        "twin.jpg": "masks/twin.jpg.png",
        "twin.png": None,  # masks/twin.png may belong to either
        "none": None,
    }


def test_splits(tmp_path: Path) -> None:
    photos = ["a.jpg", "b.jpg", "c.jpg"]
    make(tmp_path, photos, "image,tags\na,cat\nb,cat\nc,cat\n")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "val.txt").write_text("c.jpg\r\n\r\na\r\nc\r\nnone.jpg\r\n", encoding="utf-8")
    dataset = open_dataset(tmp_path, split="val")
    assert [item.id for item in dataset.items] == ["c", "a"]
    assert problems(dataset) == ["val.txt, line 5: none.jpg: no such photo"]
    assert len(open_dataset(tmp_path, split="").items) == 3
    with pytest.raises(UserError, match="no list for split 'test'; there are: val"):
        open_dataset(tmp_path, split="test")


def test_tags_file_from_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "photos", ["a.jpg"], "image,tags\na,cat\n", file="mine.txt")
    with pytest.raises(UserError, match="neither"):
        open_dataset(tmp_path / "photos")
    assert tags(open_dataset(tmp_path / "photos", tags=tmp_path / "photos" / "mine.txt")) == {"a": ("cat",)}
    (tmp_path / "photos" / "labels.json").write_text('{"a.jpg": ["dog"]}', encoding="utf-8")
    assert tags(open_dataset(tmp_path / "photos")) == {"a": ("dog",)}


def test_hidden_files_and_link_cycles(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", ".hidden.jpg", ".cache/b.jpg"], "image,tags\na,cat\n")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    dataset = open_dataset(tmp_path)
    assert tags(dataset) == {"a": ("cat",)}
    assert problems(dataset) == []


def test_photo_folder_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    make(tmp_path / "root", [], "image,tags\nimages/a.jpg,cat\n")
    save(tmp_path / "elsewhere" / "a.png", PIXELS).rename(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "root" / "images").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert tags(open_dataset(tmp_path / "root")) == {"images/a": ("cat",)}


def test_no_tags_at_all(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg"], "image,tags\na,\n")
    with pytest.raises(UserError, match="no row carries a tag"):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n", encoding="utf-8")
    assert tags(open_dataset(tmp_path)) == {"a": ()}


NAMES = st.lists(st.text("ab.é\u0301/", min_size=1, max_size=6), unique=True, max_size=12)


@given(NAMES)
def test_ids_are_unique(paths: list[str]) -> None:
    ids = unique_ids(paths)
    assert list(ids) == paths
    assert len(set(ids.values())) == len(paths)


def test_ids_keep_the_extension_only_where_needed() -> None:
    assert unique_ids(["a.jpg", "a.png", "a.jpg.png", "b/c.jpg"]) == {
        "a.jpg": "a.jpg",
        "a.png": "a.png",
        "a.jpg.png": "a.jpg.png",
        "b/c.jpg": "b/c",
    }


@given(NAMES)
def test_every_photo_is_found_by_its_own_path(paths: list[str]) -> None:
    paths = [
        path for path in paths if "/" not in (path[0], path[-1]) and "//" not in path and "." not in path.split("/")
    ]
    paths = [path for path in paths if ".." not in path.split("/")]
    finder = PhotoFinder(paths)
    forms = [unicodedata.normalize("NFC", path) for path in paths]
    for path, form in zip(paths, forms, strict=True):
        match = finder.match(path)
        assert match.path == path if forms.count(form) == 1 else match.several
