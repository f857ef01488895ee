"""Annotations of YOLO, imported and read back by the folder reader."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.data.importers.importing import import_annotations
from tests.data.builders import complaint
from tests.data.importers.importing import masks, photo, polygon_mask, tags, write


def yolo(root: Path, lines: dict[str, str], names: str = "names: [cat, dog]\n") -> Path:
    write(root / "data.yaml", f"path: .\ntrain: images/train\n{names}")
    for name, text in lines.items():
        photo(root / f"images/{name}.jpg", (80, 60))
        write(root / f"labels/{name}.txt", text)
    return root


@pytest.mark.parametrize("names", ["names: [cat, dog]", "names:\n  0: cat\n  1: dog", "nc: 2\nnames: ['cat', 'dog']"])
def test_yolo_boxes_segments_and_empty_photos(tmp_path: Path, names: str) -> None:
    root = yolo(
        tmp_path / "in",
        {
            "train/a": "0 0.5 0.5 0.2 0.2\n",
            "train/b": "1 0.1 0.1 0.5 0.1 0.5 0.9\n0 0 0 .25 0 .25 .5 0 .5\n\n",
            "val/c": "",
        },
        names,
    )
    photo(root / "images/val/d.jpg")
    photo(root / "images/val/e.jpg")
    result = import_annotations(root, tmp_path / "out")
    assert result.format == "yolo"
    assert tags(tmp_path / "out") == {
        "images/train/a": {"cat"}, "images/train/b": {"cat", "dog"},
        "images/val/c": set(),
    }  # fmt: skip
    drawn = masks(tmp_path / "out")
    assert "images/train/a" not in drawn
    expected = polygon_mask((80, 60), (2, [[8, 6, 40, 6, 40, 54]]), (1, [[0, 0, 20, 0, 20, 30, 0, 30]]))
    np.testing.assert_array_equal(drawn["images/train/b"], expected)
    assert not drawn["images/val/c"].any()
    assert list(tags(tmp_path / "out", "val")) == ["images/val/c"]
    assert result.problems == ()
    assert result.unlabelled == ("images/val/d.jpg", "images/val/e.jpg")
    assert (result.seen, result.photos) == (5, 3)
    habit = import_annotations(root, tmp_path / "habit", unlabelled="background")
    assert habit.unlabelled == ()
    assert tags(tmp_path / "habit", "val") == {f"images/val/{name}": set() for name in "cde"}
    assert sorted(masks(tmp_path / "habit")) == ["images/train/b", "images/val/c"]  # of the others nothing is drawn


def test_yolo_beside_the_photos_with_classes_txt_in_place(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", "1 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    before = (tmp_path / "a.jpg").read_bytes()
    result = import_annotations(tmp_path, tmp_path)
    assert tags(tmp_path) == {"a": {"dog"}}
    assert (result.photos, result.masks) == (1, 0)
    assert (tmp_path / "a.jpg").read_bytes() == before
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    "line", ["2 .5 .5 .1 .1", "-1 .5 .5 .1 .1", "0 .5 .5", "a b c d e", "0.5 1 1 1 1", "nan 1 1 1 1"]
)
def test_yolo_bad_lines(tmp_path: Path, line: str) -> None:
    root = yolo(tmp_path / "in", {"a": f"{line}\n0 .5 .5 .1 .1\n", "b": "1 .5 .5 .1 .1\n"})
    result = import_annotations(root, tmp_path / "out")
    assert tags(tmp_path / "out") == {"images/b": {"dog"}}  # whether a shows a dog is not known
    assert list(result.set_aside) == ["images/a.jpg"]
    assert [problem.where for problem in result.problems] == ["labels/a.txt"]
    assert "line 1: " in result.problems[0].what


def test_yolo_without_names_or_labels(tmp_path: Path) -> None:
    root = yolo(tmp_path / "in", {"a": ""}, names="")
    assert "no class names" in complaint(lambda: import_annotations(root, tmp_path / "out"))
    write(root / "data.yaml", "names: [a, a]")
    assert "must be different" in complaint(lambda: import_annotations(root, tmp_path / "out"))
    write(root / "data.yaml", "names: !!python/object/apply:os.system [touch /tmp/x]")
    assert "not valid YAML" in complaint(lambda: import_annotations(root, tmp_path / "out"))
    write(root / "data.yaml", "names: [cat]")
    (root / "labels/a.txt").unlink()
    assert "no photo has a text file" in complaint(lambda: import_annotations(root / "data.yaml", tmp_path / "out"))


@settings(max_examples=25, deadline=None)
@given(
    things=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.floats(0, 1, width=16), min_size=6, max_size=6)), max_size=4
    )
)
def test_yolo_segments_equal_coco_polygons(things: list[tuple[int, list[float]]]) -> None:
    size = (64, 32)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photo(root / "images/a.png", size)
        write(root / "labels/a.txt", "".join(f"{k} {' '.join(map(str, polygon))}\n" for k, polygon in things))
        write(root / "data.yaml", "names: [a, b, c, d]")
        import_annotations(root, root)
        assert tags(root) == {"images/a": {"abcd"[k] for k, _ in things}}
        pixels = [(k + 1, [[v * size[i % 2] for i, v in enumerate(polygon)]]) for k, polygon in things]
        drawn = masks(root)
        for mask in drawn.values():
            np.testing.assert_array_equal(mask, polygon_mask(size, *pixels))
        areas = {k: any(polygon_mask(size, (1, polygons)).any() for j, polygons in pixels if j == k) for k, _ in pixels}
        assert len(drawn) == (bool(things) and all(areas.values()))  # an outline without a pixel is none
