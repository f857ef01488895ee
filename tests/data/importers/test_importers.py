"""What holds for annotations of every format: names, places, refusals."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.data.importers.importing import import_annotations
from tests.data.builders import complaint
from tests.data.importers.importing import coco_tree, masks, photo, tags, where_and_what, write
from tests.data.test_outlines import square


def test_class_names_with_separators_go_to_json(tmp_path: Path) -> None:
    photo(tmp_path / "in/cup, of tea;x/a.jpg")
    photo(tmp_path / "in/dog/b.jpg", colour=2)
    import_annotations(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out/tags.csv").exists()
    assert tags(tmp_path / "out") == {"images/cup, of tea;x/a": {"cup, of tea;x"}, "images/dog/b": {"dog"}}


def test_photos_that_share_a_name_keep_their_masks(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", (40, 30))
    photo(tmp_path / "a.png", (40, 30))
    images = [{"id": k, "file_name": name, "width": 40, "height": 30} for k, name in ((1, "a.jpg"), (2, "a.png"))]
    notes = [{"image_id": k, "category_id": 1, "segmentation": square(0, 0, 5 * k)} for k in (1, 2)]
    tree = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cat"}]}
    import_annotations(write(tmp_path / "x.json", tree), tmp_path / "out")
    drawn = masks(tmp_path / "out")
    assert {name: int(mask.sum()) for name, mask in drawn.items()} == {"images/a.jpg": 25, "images/a.png": 100}


def test_same_name_in_two_folders(tmp_path: Path) -> None:
    photo(tmp_path / "in/x/a.jpg")
    photo(tmp_path / "in/y/a.jpg")
    write(tmp_path / "x.csv", "image,class\na.jpg,cat\ny/a.jpg,dog\n")
    result = import_annotations(tmp_path / "x.csv", tmp_path / "out", photos=tmp_path / "in")
    assert tags(tmp_path / "out") == {"images/y/a": {"dog"}}
    assert where_and_what(result) == [
        "x.csv, line 2: a.jpg: may be any of x/a.jpg, y/a.jpg; write more of its path, or the extension"
    ]
    assert result.unlabelled == ("x/a.jpg",)


def test_own_tags_are_not_overwritten(tmp_path: Path) -> None:
    photo(tmp_path / "in/dog/a.jpg")
    photo(tmp_path / "in/cat/b.jpg", colour=2)
    write(tmp_path / "out/labels.json", {})
    assert "there are tags already" in complaint(lambda: import_annotations(tmp_path / "in", tmp_path / "out"))
    import_annotations(tmp_path / "in", tmp_path / "out", overwrite=True)
    import_annotations(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert tags(tmp_path / "out") == {"images/dog/a": {"dog"}, "images/cat/b": {"cat"}}


@pytest.mark.parametrize("file", [True, False])
def test_output_within_the_folder_that_is_read(tmp_path: Path, file: bool) -> None:
    photo(tmp_path / "a.jpg")
    source = write(tmp_path / "x.csv", "image,class\na.jpg,cat\n")
    for _ in range(2):
        result = import_annotations(source if file else tmp_path, tmp_path / "out", overwrite=True)
        assert result.problems == ()
        assert result.format == "csv"
        assert tags(tmp_path / "out") == {"images/a": {"cat"}}


def deep(root: Path) -> Path:
    return write(root / "x.json", "[" * 100_000)


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda root: root / "none", "no such file"),
    "empty folder": (lambda root: root, "no annotations found"),
    "text": (lambda root: write(root / "x.txt", "hello"), "no annotations found"),
    "no photos": (lambda root: write(root / "x.json", coco_tree()), "names no photo of"),
    "deep": (deep, "nested too deeply"),
    "broken": (lambda root: write(root / "x.json", "{"), "not valid JSON"),
    "number": (lambda root: write(root / "x.json", "7"), "x.json"),
    "endless number": (lambda root: write(root / "x.json", "1" * 10_000), "without end"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, part = REFUSED[name]
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in")
    message = complaint(lambda: import_annotations(source, tmp_path / "out"))
    assert part in message
    assert "\n" not in message


def test_given_format_is_used_or_refused(tmp_path: Path) -> None:
    photo(tmp_path / "in/dog/a.jpg")
    write(tmp_path / "in/dog/notes.csv", "hello")
    import_annotations(tmp_path / "in", tmp_path / "out", format="folders")
    assert tags(tmp_path / "out") == {"images/dog/a": {"dog"}}
    assert "no annotations of the format coco" in complaint(
        lambda: import_annotations(tmp_path / "in", tmp_path / "o", format="coco")
    )
    assert "format 'pickle' is not known" in complaint(
        lambda: import_annotations(tmp_path / "in", tmp_path / "o", format="pickle")
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.floats() | st.sampled_from(["a.jpg", "cat", ""]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["images", "annotations", "categories", "id", "file_name", "name", "image_id", "category_id",
             "segmentation", "counts", "size", "width", "height", "data", "result", "value", "choices", "polygonlabels",
             "points", "rle", "original_width", "original_height", "image"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(
        st.fixed_dictionaries({"images": st.lists(JSON), "annotations": JSON, "categories": JSON}),
        st.builds(lambda tree: [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [tree]}]}], JSON),
        st.builds(lambda tree: [{"id": 1, "annotation_id": 2, "image": "a.jpg", "label": tree}], JSON),
        JSON,
    )
)
def test_any_json_is_read_or_refused_in_one_line(tree: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photo(root / "a.jpg")
        write(root / "x.json", tree)
        message = complaint(lambda: import_annotations(root / "x.json", root / "out"))
        assert "\n" not in message
