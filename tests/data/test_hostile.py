"""Folders and files that nobody means well with: one line each, no traceback, nothing opened that is no file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from semples.data import check, open_dataset
from semples.data.importers import import_annotations
from semples.data.photos import PhotoError, read_photo
from tests.data.builders import complaint
from tests.data.importers.importing import photo, tags, write


def odd_folder(root: Path) -> Path:
    """A photo, and things called like photos: a pipe, a device, links to nowhere and back, names of any bytes."""
    photo(root / "a.jpg")
    os.mkfifo(root / "pipe.jpg")
    (root / "device.jpg").symlink_to("/dev/zero")
    (root / "nowhere.jpg").symlink_to(root / "gone.jpg")
    (root / "loop").symlink_to(root)
    (root / "good.jpg").symlink_to(root / "a.jpg")
    with open(os.fsencode(root) + b"/\xff\xfe.jpg", "wb") as file:
        file.write(b"x")
    return root


def test_only_regular_files_with_names_in_utf8_are_photos(tmp_path: Path) -> None:
    root = odd_folder(tmp_path / "in")
    write(root / "tags.csv", "image,tags\na.jpg,cat\ngood.jpg,cat\npipe.jpg,cat\nnowhere.jpg,cat\n")
    dataset = open_dataset(root)
    assert [item.id for item in dataset.items] == ["a", "good"]
    aside = {problem.where for problem in dataset.problems if problem.what.startswith("set aside")}
    assert aside == {"device.jpg", "nowhere.jpg", "pipe.jpg", "\\xff\\xfe.jpg"}
    json.dumps(check(dataset).to_json()).encode()
    result = import_annotations(root / "tags.csv", tmp_path / "out")
    assert tags(tmp_path / "out") == {"images/a": {"cat"}, "images/good": {"cat"}}
    assert aside <= {problem.where for problem in result.problems}


def test_photos_in_the_voc_layout_too(tmp_path: Path) -> None:
    odd_folder(tmp_path / "JPEGImages")
    write(tmp_path / "Annotations/a.xml", "<annotation><object><name>cat</name></object></annotation>")
    dataset = open_dataset(tmp_path)
    assert [item.id for item in dataset.items] == ["a"]
    named = {problem.where for problem in dataset.problems}
    assert {"JPEGImages/pipe.jpg", "JPEGImages/device.jpg", "JPEGImages/\\xff\\xfe.jpg"} <= named


@pytest.mark.parametrize("name", ["pipe.jpg", "device.jpg", "loop"])
def test_no_pipe_is_ever_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(PhotoError, match=r"not a file but|a folder"):
        read_photo(odd_folder(tmp_path / "in") / name)


def test_annotations_in_pipes_and_of_odd_names(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "tags.csv")
    os.mkfifo(tmp_path / "x.json")
    assert "not a regular file" in complaint(lambda: import_annotations(tmp_path / "x.json", tmp_path / "out"))
    assert "no annotations" in complaint(lambda: import_annotations(tmp_path, tmp_path / "out"))
    assert "neither" in complaint(lambda: open_dataset(tmp_path))


DEEP = "[" * 100_000
HOSTILE = {
    "deep.json": DEEP,
    "deep.yaml": "names: " + "[" * 5000,
    "bomb.yaml": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nnames: [*c, *c]\n",
    "number.json": '{"images": [], "annotations": [], "categories": ' + "9" * 10_000 + "}",
    "number.yaml": "names: {" + "9" * 10_000 + ": cat}",
    "code.yaml": "names: !!python/object/apply:os.system [touch /tmp/never]",
    "bomb.xml": '<!DOCTYPE x [<!ENTITY a "aaaa">]><annotation>&a;</annotation>',
    "deep.xml": "<annotation>" * 20_000,
    "deep.csv": "image,tags\na.jpg," + "[" * 50_000 + "\n",
    "wide.csv": "image,tags\n" + "a" * 200_000 + ",cat\n",
    "half.json": '{"\\ud800.jpg": ["cat"]}',
    "endless.json": '{"images":[{"id":1e999,"file_name":"a.jpg"}],"annotations":[{"image_id":NaN,"category_id":1}],'
    '"categories":[{"id":1,"name":"cat"}]}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_one_line(tmp_path: Path, name: str) -> None:
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "images/b.jpg")
    write(tmp_path / "labels/b.txt", "0 .5 .5 .1 .1")
    source = write(tmp_path / name, HOSTILE[name])
    for path in (source, tmp_path):
        message = complaint(lambda path=path: import_annotations(path, tmp_path / "out", overwrite=True))
        assert "\n" not in message
        assert message or path == tmp_path or name == "deep.csv"
        message.encode()


def test_halves_of_characters_are_no_names(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(tmp_path / name)
    write(tmp_path / "x.json", '{"a.jpg": ["\\ud800"], "b.jpg": ["\\ud83d\\ude00"], "\\udfff.jpg": ["cat"]}')
    result = import_annotations(tmp_path / "x.json", tmp_path / "out")
    assert tags(tmp_path / "out") == {"images/b": {"😀"}}
    assert list(result.set_aside) == ["a.jpg"]
    assert result.unlabelled == ("c.jpg",)
    assert "\\udfff.jpg: no such photo" in {problem.what for problem in result.problems}
