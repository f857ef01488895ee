"""Annotations as VOC XML, imported and read back by the folder reader."""

from __future__ import annotations

from pathlib import Path

from semples.data.importers.importing import import_annotations
from tests.data.importers.importing import photo, tags, write


def test_voc_xml(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "c.jpg", "d.jpg"):
        photo(tmp_path / "photos" / name)
    thing = "<object><name>{}</name><part><name>head</name></part><bndbox><xmin>1</xmin></bndbox></object>"
    body = "<annotation><filename>{}</filename>{}</annotation>"
    write(tmp_path / "xml/a.xml", body.format("a.jpg", thing.format("cat") + thing.format("dog &amp; co")))
    write(tmp_path / "xml/b.xml", body.format("b.jpg", thing.format("cat") * 2))  # a PNG by now
    write(tmp_path / "xml/renamed.xml", body.format("C:\\photos\\c.jpg", ""))
    write(tmp_path / "xml/d.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]>" + body.format("d.jpg", ""))
    write(tmp_path / "xml/e.xml", "<annotation>")
    result = import_annotations(tmp_path / "xml", tmp_path / "out", photos=tmp_path / "photos")
    assert result.format == "voc"
    assert tags(tmp_path / "out") == {"images/a": {"cat", "dog & co"}, "images/b": {"cat"}, "images/c": set()}
    assert [problem.where for problem in result.problems] == ["d.xml", "e.xml"]
    assert "declares a document type" in result.problems[0].what


def test_masks_of_unknown_values_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "in/JPEGImages/a.jpg")
    photo(tmp_path / "in/SegmentationClass/a.png")
    write(tmp_path / "in/Annotations/a.xml", "<annotation><object><name>cat</name></object></annotation>")
    result = import_annotations(tmp_path / "in", tmp_path / "out")
    assert tags(tmp_path / "out") == {"JPEGImages/a": {"cat"}}
    assert [problem.where for problem in result.problems] == ["SegmentationClass"]
