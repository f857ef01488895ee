"""Photos and tags whose names no file or line of this program could hold are set aside by name; the others are used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.data import open_dataset
from semples.data.classes import ClassList
from semples.data.importers import import_annotations
from semples.prediction.photos import find_photos
from tests import tiny


def put(folder: Path, name: bytes) -> None:
    """A photo of this name, which need not be UTF-8."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.save(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write((folder / "a.png").read_bytes())


def test_a_folder_with_tags(tmp_path: Path) -> None:
    put(tmp_path, b"caf\xe9.png")
    put(tmp_path / "d\xff".encode("latin-1").decode("utf-8", "surrogateescape"), b"b.png")
    (tmp_path / "tags.csv").write_text("image,tags\na.png,disc\n", encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert [item.id for item in dataset.items] == ["a"]
    told = {problem.where: problem.what for problem in dataset.problems}
    assert "not UTF-8" in told[r"caf\xe9.png"]
    assert r"d\xff/b.png" in told
    json.dumps([problem.where for problem in dataset.problems]).encode()


def test_the_voc_layout(tmp_path: Path) -> None:
    put(tmp_path / "JPEGImages", b"caf\xe9.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><object><name>cat</name></object></annotation>", encoding="utf-8"
    )
    dataset = open_dataset(tmp_path)
    assert [item.id for item in dataset.items] == ["a"]
    assert [problem.where for problem in dataset.problems] == [r"JPEGImages/caf\xe9.png"]


def test_photos_to_predict(tmp_path: Path) -> None:
    put(tmp_path / "photos", b"\xff.png")
    refused: list = []
    photos = find_photos([tmp_path / "photos"], refused=refused)
    assert [photo.name for photo in photos] == ["a.png"]
    assert [problem.where for problem in refused] == [r"\xff.png"]
    with pytest.raises(UserError, match="not UTF-8"):
        find_photos([os.fsdecode(os.path.join(os.fsencode(tmp_path / "photos"), b"\xff.png"))])


def test_photos_to_import(tmp_path: Path) -> None:
    put(tmp_path / "in" / "cat", b"\xff.png")
    made = import_annotations(tmp_path / "in", tmp_path / "out", format="folders")
    assert made.photos == 1
    assert [problem.where for problem in made.problems] == [r"cat/\xff.png"]


@pytest.mark.parametrize("tag", ["a\nb", "\x1b[31m", "a\u2028b", "\ud800", "a\x9bb"])
def test_tags(tmp_path: Path, tag: str) -> None:
    for name in ("a", "b"):
        tiny.save(tmp_path / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "tags.json").write_text(json.dumps({"a.png": [tag], "b.png": ["disc"]}), encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert dataset.classes.names == ("disc",)
    assert [item.id for item in dataset.items] == ["b"]
    assert any(
        "holds a control sign" in problem.what or "half a character" in problem.what for problem in dataset.problems
    )
    with pytest.raises(UserError, match="control sign"):
        ClassList((tag, "disc"))


def test_right_to_left_names_are_names(tmp_path: Path) -> None:
    tiny.save(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "tags.json").write_text(json.dumps({"a.png": ["كلب", "\u200fחתול"]}), encoding="utf-8")
    assert len(open_dataset(tmp_path).classes) == 2
