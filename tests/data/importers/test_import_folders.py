"""Folders named by class, imported and read back by the folder reader."""

from __future__ import annotations

from pathlib import Path

from semples.data.importers.importing import import_annotations
from tests.data.importers.importing import photo, tags


def test_folders_named_by_class(tmp_path: Path) -> None:
    photo(tmp_path / "in/dog/a.jpg", colour=1)
    photo(tmp_path / "in/dog/deeper/b.jpg", colour=2)
    photo(tmp_path / "in/cat/a.jpg", colour=3)
    (tmp_path / "in/cat/same.jpg").write_bytes((tmp_path / "in/dog/a.jpg").read_bytes())
    photo(tmp_path / "in/loose.jpg", colour=4)
    result = import_annotations(tmp_path / "in", tmp_path / "out")
    assert result.format == "folders"
    assert tags(tmp_path / "out") == {
        "images/cat/a": {"cat"}, "images/cat/same": {"cat", "dog"}, "images/dog/deeper/b": {"dog"},
    }  # fmt: skip
    assert [problem.where for problem in result.problems] == ["dog/a.jpg"]
    assert list(result.set_aside) == ["dog/a.jpg"]
    assert result.unlabelled == ("loose.jpg",)
    assert "cat (2), dog (2)" in result.notes[0]


def test_folders_below_splits(tmp_path: Path) -> None:
    for place, name in enumerate(("train/dog/a", "train/cat/b", "val/cat/c", "Test/cat/d")):
        photo(tmp_path / f"in/{name}.jpg", colour=place)
    import_annotations(tmp_path / "in", tmp_path / "out")
    assert tags(tmp_path / "out", "train") == {"images/train/dog/a": {"dog"}, "images/train/cat/b": {"cat"}}
    assert tags(tmp_path / "out", "val") == {"images/val/cat/c": {"cat"}}
    assert tags(tmp_path / "out", "test") == {"images/Test/cat/d": {"cat"}}
