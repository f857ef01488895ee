"""Names as other programs write them, joined with photos; never to the wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.data.names import PhotoFinder, split_of, without_clashes

PATHS = ("images/a.jpg", "train/x/1.jpg", "val/x/1.jpg", "c.jpg", "c.png", "photo.v2.jpg", "deep/er/2.jpg")


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("a", "images/a.jpg"),
        ("A.JPG", "images/a.jpg"),
        ("C:\\me\\images\\a.jpg", "images/a.jpg"),
        ("photo.v2", "photo.v2.jpg"),
        ("https://host/data/a.jpg?x=1", "images/a.jpg"),
        ("gs://bucket/val/x/1.jpg", "val/x/1.jpg"),
        ("c.png", "c.png"),
        ("2.jpg", "deep/er/2.jpg"),
        ("/data/train/1.jpg", "train/x/1.jpg"),
        ("test/x/1.jpg", None),
        ("1.jpg", None),
        ("c", None),
        ("a.png", None),
        ("", None),
        ("..", None),
        ("\0", None),
    ],
)
def test_a_name_means_one_photo_or_none(told: str, path: str | None) -> None:
    assert PhotoFinder(PATHS).match(told).path == path


def test_a_photo_in_another_format_is_pointed_out() -> None:
    match = PhotoFinder(["IMG_1.heic"]).match("IMG_1.jpg")
    assert match.why_not("IMG_1.jpg") == "IMG_1.jpg: no such photo; there is IMG_1.heic"


def test_names_of_two_folders_that_mean_one_photo_are_refused() -> None:
    finder = PhotoFinder(["1.jpg", "2.jpg"])
    matches = without_clashes([finder.match(name) for name in ("x/1.jpg", "y/1.jpg", "x/2.jpg", "X\\2.jpg")])
    assert [match.path for match in matches] == [None, None, "2.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("path", "split"),
    [("train2017/a", "train"), ("x/Valid/a", "val"), ("trainer/a", None), ("testing/a", "test"), ("train", None)],
)
def test_parts(path: str, split: str | None) -> None:
    assert split_of(path) == split


TREE = ("a.jpg", "b.png", "a/a.jpg", "a/b.png", "b/a.jpg", "a/b/a.jpg", "b/b/a.jpg", "a/a.png")


@given(st.lists(st.sampled_from(TREE), unique=True), st.sampled_from(["/home/z/", "C:\\z\\", "s3://z/z/", "z/z/"]))
def test_a_path_of_any_other_computer_means_its_own_photo(paths: list[str], root: str) -> None:
    finder = PhotoFinder(paths)
    for path in paths:
        assert finder.match(root + path).path == path
