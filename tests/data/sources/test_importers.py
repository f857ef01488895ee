"""Annotations as each program writes them, imported and read back by the folder reader."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.data import open_dataset
from semples.data.sources.importers import ImportResult, import_annotations
from tests.data.builders import complaint
from tests.data.sources.test_brush import pack
from tests.data.sources.test_outlines import square

mask_api = pytest.importorskip("pycocotools.mask")


def photo(path: Path, size: tuple[int, int] = (40, 30), colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 9, len(path.name))).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def tags(root: Path, split: str | None = None) -> dict[str, set[str]]:
    dataset = open_dataset(root, split=split)
    assert dataset.problems == ()
    return {item.id: {dataset.classes.names[tag] for tag in item.tags} for item in dataset.items}


def masks(root: Path) -> dict[str, np.ndarray]:
    dataset = open_dataset(root)
    return {item.id: mask for item in dataset.items if (mask := dataset.mask(item)) is not None}


def polygon_mask(size: tuple[int, int], *things: tuple[int, list[list[float]]]) -> np.ndarray:
    labels = np.zeros((size[1], size[0]), np.uint8)
    for label, polygons in reversed(things):
        labels[mask_api.decode(mask_api.merge(mask_api.frPyObjects(polygons, size[1], size[0]))) == 1] = label
    return labels


def where_and_what(result: ImportResult) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in result.problems]


# -------------------------------------------------------------------------------------------------------------- COCO


def coco_tree(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
            {"id": 2, "file_name": "b.jpg", "width": 40, "height": 30},
            {"id": 3, "file_name": "c.jpg", "width": 40, "height": 30},
            {"id": 4, "file_name": "gone.jpg", "width": 40, "height": 30},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "  big   cat "}, {"id": 9, "name": "never"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": square(0, 0, 9), "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": square(5, 5, 20), "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 3, "bbox": [1, 1, 9, 9]},
            {"id": 4, "image_id": 2, "category_id": 7, "segmentation": square(0, 0, 9)},
            {"id": 5, "image_id": 3, "category_id": 99, "segmentation": []},
        ],
    } | changes


def test_coco(tmp_path: Path) -> None:
    for name in "abc":
        photo(tmp_path / f"photos/train/{name}.jpg")
    source = write(tmp_path / "x.json", coco_tree())
    result = import_annotations(source, tmp_path / "out", photos=tmp_path / "photos")
    assert result.format == "coco"
    assert result.classes == ("big cat", "dog", "never")
    assert tags(tmp_path / "out") == {
        "images/train/a": {"dog", "big cat"}, "images/train/b": {"dog", "big cat"}, "images/train/c": set(),
    }  # fmt: skip
    found = masks(tmp_path / "out")
    assert sorted(found) == ["images/train/a", "images/train/c"]
    expected = polygon_mask((40, 30), (2, square(0, 0, 9)), (1, square(5, 5, 20)))
    np.testing.assert_array_equal(found["images/train/a"], expected)
    assert not found["images/train/c"].any()
    assert (result.photos, result.masks) == (3, 2)
    assert where_and_what(result) == [
        "x.json, annotation 5: its category is not in the file",
        "x.json, image 4: gone.jpg: no such photo",
        "x.json, image 2: train/b.jpg: no mask; not everything on it has an outline",
    ]
    assert tags(tmp_path / "out", "train") == tags(tmp_path / "out")
    assert (tmp_path / "out/images/train/a.jpg").stat().st_ino == (tmp_path / "photos/train/a.jpg").stat().st_ino


def test_coco_sizes_must_fit_and_codes_are_read(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", (41, 30))
    photo(tmp_path / "b.jpg")
    photo(tmp_path / "c.jpg")
    code = {"size": [30, 40], "counts": [0, 30, 1170]}
    tree = coco_tree(annotations=[
        {"image_id": 1, "category_id": 7, "segmentation": square(0, 0, 9)},
        {"image_id": 2, "category_id": 7, "segmentation": code, "iscrowd": 1},
        {"image_id": 3, "category_id": 7, "segmentation": {"size": [30, 40], "counts": [7]}},
    ])  # fmt: skip
    result = import_annotations(write(tmp_path / "x.json", tree), tmp_path / "out")
    found = masks(tmp_path / "out")
    assert list(found) == ["images/b"]
    assert found["images/b"][:, 0].tolist() == [2] * 30
    assert found["images/b"].sum() == 60
    assert "(40, 30) pixels, but the photo has (41, 30)" in where_and_what(result)[1]
    assert "does not fill its photo" in where_and_what(result)[2]


def test_one_box_among_outlines_of_its_class_leaves_no_mask(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    notes = [
        {"image_id": 1, "category_id": 7, "segmentation": square(0, 0, 9)},
        {"image_id": 1, "category_id": 7, "bbox": [20, 20, 5, 5]},
    ]
    result = import_annotations(write(tmp_path / "x.json", coco_tree(annotations=notes)), tmp_path / "out")
    assert result.masks == 0
    assert "not everything on it has an outline" in where_and_what(result)[-1]


def test_coco_in_the_folders_of_its_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        photo(tmp_path / f"in/{split}/a.jpg", colour=len(split))
        tree = coco_tree(images=[{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}])
        write(tmp_path / f"in/{split}/_annotations.coco.json", tree)
    import_annotations(tmp_path / "in", tmp_path / "out", masks=False)
    assert list(tags(tmp_path / "out", "train")) == ["images/train/a"]
    assert list(tags(tmp_path / "out", "val")) == ["images/valid/a"]
    assert masks(tmp_path / "out") == {}


# -------------------------------------------------------------------------------------------------------------- YOLO


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
    result = import_annotations(root, tmp_path / "out")
    assert result.format == "yolo"
    assert tags(tmp_path / "out") == {
        "images/train/a": {"cat"}, "images/train/b": {"cat", "dog"},
        "images/val/c": set(), "images/val/d": set(),
    }  # fmt: skip
    found = masks(tmp_path / "out")
    assert "images/train/a" not in found
    expected = polygon_mask((80, 60), (2, [[8, 6, 40, 6, 40, 54]]), (1, [[0, 0, 20, 0, 20, 30, 0, 30]]))
    np.testing.assert_array_equal(found["images/train/b"], expected)
    assert not found["images/val/c"].any()
    assert list(tags(tmp_path / "out", "val")) == ["images/val/c", "images/val/d"]
    assert result.problems == ()


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
    root = yolo(tmp_path / "in", {"a": f"{line}\n0 .5 .5 .1 .1\n"})
    result = import_annotations(root, tmp_path / "out")
    assert tags(tmp_path / "out") == {"images/a": {"cat"}}
    assert [problem.where for problem in result.problems] == ["a.txt, line 1"]


def test_yolo_without_names_or_labels(tmp_path: Path) -> None:
    root = yolo(tmp_path / "in", {"a": ""}, names="")
    assert "no class names" in complaint(lambda: import_annotations(root, tmp_path / "out"))
    write(root / "data.yaml", "names: [a, a]")
    assert "must be different" in complaint(lambda: import_annotations(root, tmp_path / "out"))
    write(root / "data.yaml", "names: !!python/object/apply:os.system [touch /tmp/x]")
    assert "not readable as YAML" in complaint(lambda: import_annotations(root, tmp_path / "out"))
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
        found = masks(root)
        assert len(found) == bool(things)
        for mask in found.values():
            np.testing.assert_array_equal(mask, polygon_mask(size, *pixels))


# ---------------------------------------------------------------------------------------------------------- VOC XML


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


# ------------------------------------------------------------------------------------------------------ Label Studio


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
    found = masks(tmp_path / "out")
    assert sorted(found) == ["images/sub/a", "images/sub/b c", "images/sub/brush"]
    np.testing.assert_array_equal(found["images/sub/a"], polygon_mask((40, 30), (1, [[0, 0, 20, 0, 20, 15, 0, 15]])))
    np.testing.assert_array_equal(found["images/sub/brush"], 2 * drawn)
    assert [problem.where for problem in result.problems] == [
        "export.json, task 6", "export.json, task 8", "export.json, task 7",
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
    assert tags(tmp_path / "out") == {"images/a": {"cat"}}
    assert [
        part for problem in result.problems for part in ("annotated 2 times", "cut off") if part in problem.what
    ] == ["annotated 2 times", "cut off"]


# --------------------------------------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,30,cat,1,1,5,5\na.jpg,40,30,dog,1,1,5,5\nb.jpg,,,,,,,\n",
        "a.jpg,1,1,5,5,cat\na.jpg,1,1,5,5,dog\nb.jpg,,,,,\n",
        "ImageID;Source;LabelName\na;x;cat\na;x;dog\nb;x;\n",
        "image,tags\na.jpg,cat;dog\nb.jpg,\n",
        "image,cat,dog\na.jpg,1,1\nb.jpg,0,0\n",
        '"x_min","class","path"\n1,cat,/home/me/in/a.jpg\n1,dog,C:\\me\\a.jpg\n1,,b.jpg\n',
    ],
)
def test_csv(tmp_path: Path, text: str) -> None:
    photo(tmp_path / "in/a.jpg")
    photo(tmp_path / "in/b.jpg")
    result = import_annotations(write(tmp_path / "in/x.csv", text), tmp_path / "out")
    assert result.format == "csv"
    assert tags(tmp_path / "out") == {"images/a": {"cat", "dog"}, "images/b": set()}
    assert result.problems == ()


WORD = st.text(st.sampled_from("abé日'\"& -"), min_size=1, max_size=6).filter(lambda word: word.strip() == word)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a b.png", "é.png", "x/y.png"]), WORD), min_size=1, max_size=8),
    classes=st.just(None),
)
def test_csv_with_any_names(rows: list[tuple[str, str]], classes: None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        expected: dict[str, set[str]] = {}
        with open(root / "x.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "class"])
            for name, label in rows:
                if not (root / "in" / name).exists():
                    photo(root / "in" / name)
                writer.writerow([name, label])
                expected.setdefault(f"images/{name[:-4]}", set()).add(" ".join(label.split()))
        import_annotations(root / "x.csv", root / "out", photos=root / "in")
        assert tags(root / "out") == expected


# ----------------------------------------------------------------------------------------------------------- folders


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
    assert [problem.where for problem in result.problems] == ["loose.jpg", "dog/a.jpg"]


def test_folders_below_splits(tmp_path: Path) -> None:
    for place, name in enumerate(("train/dog/a", "train/cat/b", "val/cat/c", "Test/cat/d")):
        photo(tmp_path / f"in/{name}.jpg", colour=place)
    import_annotations(tmp_path / "in", tmp_path / "out")
    assert tags(tmp_path / "out", "train") == {"images/train/dog/a": {"dog"}, "images/train/cat/b": {"cat"}}
    assert tags(tmp_path / "out", "val") == {"images/val/cat/c": {"cat"}}
    assert tags(tmp_path / "out", "test") == {"images/Test/cat/d": {"cat"}}


# --------------------------------------------------------------------------------------------------------- in general


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
    found = masks(tmp_path / "out")
    assert {name: int(mask.sum()) for name, mask in found.items()} == {"images/a.jpg": 25, "images/a.png": 100}


def test_same_name_in_two_folders(tmp_path: Path) -> None:
    photo(tmp_path / "in/x/a.jpg")
    photo(tmp_path / "in/y/a.jpg")
    write(tmp_path / "x.csv", "image,class\na.jpg,cat\ny/a.jpg,dog\n")
    result = import_annotations(tmp_path / "x.csv", tmp_path / "out", photos=tmp_path / "in")
    assert tags(tmp_path / "out") == {"images/y/a": {"dog"}}
    assert where_and_what(result) == ["x.csv, row 1: a.jpg: may be any of x/a.jpg, y/a.jpg"]


def test_own_tags_are_not_overwritten(tmp_path: Path) -> None:
    photo(tmp_path / "in/dog/a.jpg")
    write(tmp_path / "out/labels.json", {})
    assert "there are tags already" in complaint(lambda: import_annotations(tmp_path / "in", tmp_path / "out"))
    import_annotations(tmp_path / "in", tmp_path / "out", overwrite=True)
    import_annotations(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert tags(tmp_path / "out") == {"images/dog/a": {"dog"}}


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
    "empty folder": (lambda root: root, "names no photo"),
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
    assert "unknown format" in complaint(
        lambda: import_annotations(tmp_path / "in", tmp_path / "o", format="pickle")  # type: ignore[arg-type]
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


@settings(max_examples=150, deadline=None)
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
