"""Annotations of Label Studio, imported and read back by the folder reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from semples.data.importers.importing import import_annotations
from tests.data.importers.importing import masks, photo, polygon_mask, tags, write
from tests.data.importers.test_brush import pack


def region(kind: str, labels: list[str], **value: Any) -> dict[str, Any]:
    return {"type": kind, "original_width": 40, "original_height": 30, "value": {**value, kind: labels}}


def task(address: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"title": "text", "image": address}, "annotations": [{"result": list(results), **more}]}


def test_label_studio(tmp_path: Path) -> None:
    names = ("a.jpg", "b c.jpg", "brush.png", "box.jpg", "tagged.jpg", "none.jpg")
    for name in names:
        photo(tmp_path / "photos/sub" / name)
    points = [[0, 0], [50, 0], [50, 50], [0, 50]]
    drawn = np.zeros((30, 40), np.uint8)
    drawn[3:9, 4:17] = 1
    source = write(tmp_path / "export.json", [
        task("/data/upload/1/0a1b2c3d-a.jpg", region("polygonlabels", ["cat"], points=points)),
        task("/data/local-files/?d=sub/b%20c.jpg", region("polygonlabels", ["dog"], points=points),
             {"type": "choices", "value": {"choices": ["dog"]}}),
        task("s3://bucket/some/brush.png", region("brushlabels", ["dog"], format="rle", rle=pack(drawn))),
        task("https://example.org/box.jpg?x=1", region("rectanglelabels", ["cat"], x=1, y=1, width=5, height=5)),
        task("tagged.jpg", {"type": "choices", "value": {"choices": ["cat", "dog"]}}),
        task("none.jpg", was_cancelled=True),
        task("gone.jpg", region("polygonlabels", ["cat"], points=points)),
        {"id": 9, "data": {"text": "no photo"}, "annotations": []},
    ])  # fmt: skip
    result = import_annotations(source, tmp_path / "out", photos=tmp_path / "photos")
    assert result.format == "label-studio"
    assert tags(tmp_path / "out") == {
        "images/sub/a": {"cat"}, "images/sub/b c": {"dog"}, "images/sub/brush": {"dog"}, "images/sub/box": {"cat"},
        "images/sub/tagged": {"cat", "dog"},
    }  # fmt: skip
    by_photo = masks(tmp_path / "out")
    assert sorted(by_photo) == ["images/sub/a", "images/sub/b c", "images/sub/brush"]
    np.testing.assert_array_equal(by_photo["images/sub/a"], polygon_mask((40, 30), (1, [[0, 0, 20, 0, 20, 15, 0, 15]])))
    np.testing.assert_array_equal(by_photo["images/sub/brush"], 2 * drawn)
    assert [problem.where for problem in result.problems] == [
        "export.json, task 8", "export.json, task 6", "export.json, task 7",
    ]  # fmt: skip


def test_label_studio_json_min(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(tmp_path / name)
    polygon = {
        "points": [[0, 0], [100, 0], [100, 100]],
        "polygonlabels": ["cat"],
        "original_width": 40,
        "original_height": 30,
    }
    source = write(tmp_path / "min.json", [
        {"id": 1, "annotation_id": 4, "image": "/data/upload/1/a.jpg", "label": [polygon]},
        {"id": 2, "annotation_id": 5, "image": "b.jpg", "choice": "dog"},
        {"id": 3, "annotation_id": 6, "image": "c.jpg", "choice": {"choices": ["dog", "cat"]}},
    ])  # fmt: skip
    import_annotations(source, tmp_path / "out")
    assert tags(tmp_path / "out") == {"images/a": {"cat"}, "images/b": {"dog"}, "images/c": {"cat", "dog"}}
    expected = polygon_mask((40, 30), (1, [[0, 0, 40, 0, 40, 30]]))
    np.testing.assert_array_equal(masks(tmp_path / "out")["images/a"], expected)


def test_label_studio_second_opinions_and_bad_brushes(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / name)
    tasks = [
        task("a.jpg", {"value": {"choices": ["cat"]}}),
        task("b.jpg", region("brushlabels", ["cat"], format="rle", rle=[1, 2])),
    ]
    tasks[0]["annotations"].append({"result": [{"value": {"choices": ["dog"]}}]})
    result = import_annotations(write(tmp_path / "x.json", tasks), tmp_path / "out")
    assert tags(tmp_path / "out") == {"images/a": {"cat"}, "images/b": {"cat"}}
    assert masks(tmp_path / "out") == {}
    assert [
        part for problem in result.problems for part in ("annotated 2 times", "cut off") if part in problem.what
    ] == ["annotated 2 times", "cut off"]
