"""The three zips in their true format, a few photos each, served from this machine; masks against pycocotools."""

from __future__ import annotations

import copy
import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.data import open_dataset
from semples.data.coco_classes import CATEGORIES, WITHOUT_INSTANCES
from semples.data.fetch import coco
from semples.data.fetch.coco import Part, convert_labels, get_coco, label_of
from semples.data.fetch.download import Remote
from tests.data.builders import complaint
from tests.data.fetch.server import FileServer
from tests.data.test_outlines import counts_of, square

mask_api = pytest.importorskip("pycocotools.mask")
USED = {number: name for number, name in CATEGORIES.items() if number not in WITHOUT_INSTANCES}
SIZE = (40, 30)


def crowd(left: int) -> dict[str, Any]:
    mask = np.zeros((30, 40), np.uint8)
    mask[20:, left:] = 1
    return {"size": [30, 40], "counts": counts_of(mask)}


def packed(side: int) -> dict[str, Any]:
    mask = np.zeros((30, 40), np.uint8)
    mask[:side, :side] = 1
    return {"size": [30, 40], "counts": mask_api.encode(np.asfortranarray(mask))["counts"].decode()}


# (category id, outline) by photo number; the first-listed lies on top.
THINGS: dict[str, dict[int, list[tuple[int, Any]]]] = {
    "train2014": {
        9: [(18, square(5, 5, 8)), (1, square(0, 0, 20)), (90, crowd(0))],
        25: [(1, packed(7)), (44, [[1.5, 2.25, 30.1, 4.0, 20.7, 28.9], [32, 2, 38, 2, 38, 9]])],
        30: [],
    },
    "val2014": {42: [(67, square(1, 1, 25)), (67, square(20, 20, 5))], 73: []},
}


def photo_name(part: str, number: int) -> str:
    return f"COCO_{part}_{number:012}.jpg"


def instances(part: str) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": photo_name(part, number), "width": 40, "height": 30, "license": 1, "coco_url": "x"}
        for number in THINGS[part]
    ]
    listed = [(number, *thing) for number, things in THINGS[part].items() for thing in things]
    annotations = [
        {"id": 7 + place, "image_id": number, "category_id": category, "segmentation": outline, "area": 1.0,
         "iscrowd": int(isinstance(outline, dict)), "bbox": [0, 0, 1, 1]}
        for place, (number, category, outline) in enumerate(listed)
    ]  # fmt: skip
    categories = [{"supercategory": "x", "id": number, "name": name} for number, name in USED.items()]
    tree = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    return copy.deepcopy(tree)


def zipped(files: dict[str, bytes]) -> bytes:
    """The same bytes whenever it is made: every file is of 1980, so that its MD5 can be asked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def photo(part: str, number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, (number, 9, 99)).save(buffer, "JPEG")
    return buffer.getvalue()


def archives() -> dict[str, bytes]:
    notes = {f"annotations/instances_{part}.json": json.dumps(instances(part)).encode() for part in THINGS}
    made = {"annotations_trainval2014.zip": zipped({**notes, "annotations/captions_train2014.json": b"{}"})}
    for part, numbers in THINGS.items():
        made[f"{part}.zip"] = zipped(
            {f"{part}/": b""} | {f"{part}/{photo_name(part, n)}": photo(part, n) for n in numbers}
        )
    return made


@pytest.fixture
def edition(server: FileServer) -> dict[str, Any]:
    """Keyword arguments of `get_coco` for the small edition."""
    remotes = {name: server.add(name, data) for name, data in archives().items()}
    return {
        "annotations": remotes["annotations_trainval2014.zip"],
        "parts": (
            Part("train2014", "train", remotes["train2014.zip"], 3, 2),
            Part("val2014", "val", remotes["val2014.zip"], 2, 1),
        ),
    }


def oracle(things: list[tuple[int, Any]], label: Callable[[int], int]) -> np.ndarray:
    """Painted from the last to the first with pycocotools alone."""
    labels = np.zeros((30, 40), np.uint8)
    for category, outline in reversed(things):
        if isinstance(outline, list):
            code = mask_api.merge(mask_api.frPyObjects(outline, 30, 40))
        else:
            code = outline if isinstance(outline["counts"], str) else mask_api.frPyObjects(outline, 30, 40)
        labels[mask_api.decode(code) == 1] = label(category)
    return labels


def check_result(root: Path, ids: str) -> None:
    published = ids == "published"
    place = {number: place for place, number in enumerate(sorted(USED), start=1)}
    for part, split in (("train2014", "train"), ("val2014", "val")):
        dataset = open_dataset(root, split=f"{split}_all")
        assert dataset.problems == ()
        assert len(dataset.classes) == (90 if published else 80)
        assert [item.id for item in dataset.items] == [f"{part}/{photo_name(part, n)[:-4]}" for n in THINGS[part]]
        for item, things in zip(dataset.items, THINGS[part].values(), strict=True):
            assert {dataset.classes.names[tag] for tag in item.tags} == {USED[number] for number, _ in things}
            expected = oracle(things, lambda number: number if published else place[number])
            np.testing.assert_array_equal(dataset.mask(item), expected)
            assert dataset.photo(item).shape == (30, 40, 3)
        tagged = open_dataset(root, split=split)
        assert [item.id for item in tagged.items] == [item.id for item in dataset.items if item.tags]


@pytest.mark.parametrize("ids", ["contiguous", "published"])
def test_from_the_net(tmp_path: Path, edition: dict[str, Any], server: FileServer, ids: Any) -> None:
    result = get_coco(tmp_path, ids=ids, **edition)
    check_result(tmp_path, ids)
    assert result.photos == {"train": 3, "val": 2}
    assert result.tagged == {"train": 2, "val": 1}
    assert result.classes == (90 if ids == "published" else 80)
    assert sorted(path.name for path in (tmp_path / "annotations").iterdir()) == [
        "instances_train2014.json", "instances_val2014.json",
    ]  # fmt: skip
    shutil.rmtree(tmp_path / "downloads")
    asked = len(server.asked)
    assert get_coco(tmp_path, ids=ids, **edition).removable == ()
    assert len(server.asked) == asked


def test_several_processes(tmp_path: Path, edition: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "CHUNK", 1)
    get_coco(tmp_path, workers=2, **edition)
    check_result(tmp_path, "contiguous")


def test_published_values() -> None:
    assert [remote.md5 for remote in (coco.TRAIN, coco.VAL, coco.ANNOTATIONS)] == [
        "0da8c0bd3d6becc4dcb32757491aca88", "a3d79f5ed8d289b7a7554ce06a5782b3", "0a379cfc70b0e71301e0f377548639bd",
    ]  # fmt: skip
    assert [(part.photos, part.tagged) for part in coco.PARTS] == [(82783, 82081), (40504, 40137)]
    # Known pairs of COCO's list: id 13 is the 12th, 44 the 40th, 67 the 61st, 90 the 80th.
    assert len(USED) == 80
    assert [(CATEGORIES[n], label_of("contiguous")[n]) for n in (1, 13, 44, 67, 90)] == [
        ("person", 1), ("stop sign", 12), ("bottle", 40), ("dining table", 61), ("toothbrush", 80),
    ]  # fmt: skip
    assert label_of("published") == {number: number for number in USED}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0, 255, *range(1, 81)]), min_size=1, max_size=30))
def test_layouts_convert_both_ways(values: list[int]) -> None:
    labels = np.array([values], np.uint8)
    published = convert_labels(labels, to="published")
    np.testing.assert_array_equal(convert_labels(published, to="contiguous"), labels)
    assert set(published.ravel().tolist()) <= {0, 255, *USED}


def test_mapping_is_written(tmp_path: Path, edition: dict[str, Any]) -> None:
    get_coco(tmp_path, **edition)
    with open(tmp_path / "category_ids.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["published"]): (row["name"], int(row["contiguous"])) for row in rows} == {
        number: (name, place) for place, (number, name) in enumerate(USED.items(), start=1)
    }


@pytest.mark.parametrize("layout", ["zips", "in zips", "unpacked", "images", "mixed"])
def test_from_files_already_there(tmp_path: Path, edition: dict[str, Any], server: FileServer, layout: str) -> None:
    source = tmp_path / "have"
    source.mkdir()
    for name, data in archives().items():
        if layout == "zips" or (layout == "mixed" and name != "train2014.zip"):
            (source / name).write_bytes(data)
        elif layout == "in zips":
            place = source / ("annotations" if name.startswith("ann") else "zips") / name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(data)
        else:
            below = source / "images" if layout == "images" and not name.startswith("ann") else source
            zipfile.ZipFile(io.BytesIO(data)).extractall(below)
    get_coco(tmp_path / "out", source=source, **edition)
    check_result(tmp_path / "out", "contiguous")
    assert server.asked == []


def test_in_place_and_the_other_layout_beside_it(tmp_path: Path, edition: dict[str, Any], server: FileServer) -> None:
    for data in archives().values():
        zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path / "a")
    get_coco(tmp_path / "a", source=tmp_path / "a", **edition)
    check_result(tmp_path / "a", "contiguous")
    message = complaint(lambda: get_coco(tmp_path / "a", ids="published", **edition))
    assert "choose another folder" in message
    get_coco(tmp_path / "b", source=tmp_path / "a", ids="published", **edition)
    check_result(tmp_path / "b", "published")
    check_result(tmp_path / "a", "contiguous")
    assert server.asked == []


def test_missing_files_are_told_before_the_work(tmp_path: Path, edition: dict[str, Any]) -> None:
    made = archives()
    (tmp_path / "have").mkdir()
    out = tmp_path / "out"
    assert "annotations_trainval2014.zip" in complaint(lambda: get_coco(out, source=tmp_path / "have", **edition))
    for name in ("annotations_trainval2014.zip", "train2014.zip"):
        (tmp_path / "have" / name).write_bytes(made[name])
    assert "neither val2014.zip" in complaint(lambda: get_coco(out, source=tmp_path / "have", **edition))
    assert not (out / "masks").exists()
    (tmp_path / "have/val2014.zip").write_bytes(made["train2014.zip"])
    assert "MD5" in complaint(lambda: get_coco(out, source=tmp_path / "have", **edition))
    assert "no such folder" in complaint(lambda: get_coco(out, source=tmp_path / "none", **edition))


def test_cut_off_at_any_file_and_taken_up(
    tmp_path: Path, edition: dict[str, Any], server: FileServer, calls_while_the_disk_fills: Callable[..., int]
) -> None:
    def check() -> None:
        assert not (tmp_path / "tags.csv").exists()

    calls = calls_while_the_disk_fills(lambda: get_coco(tmp_path, **edition), check=check)
    assert 2 < calls < 39
    check_result(tmp_path, "contiguous")
    assert sorted(path for path, asked in server.asked) == [
        "/annotations_trainval2014.zip", "/train2014.zip", "/val2014.zip",
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["photos", "tagged"])
def test_counts_are_checked(tmp_path: Path, edition: dict[str, Any], field: str) -> None:
    parts = (replace(edition["parts"][0], **{field: 1}), edition["parts"][1])
    message = complaint(lambda: get_coco(tmp_path, annotations=edition["annotations"], parts=parts))
    assert "not 1" in message


def spoilt(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    tree = instances("train2014")
    change(tree)
    return tree


SPOILT: dict[str, tuple[Any, str]] = {
    "list": ([], "not a file of COCO instances"),
    "other categories": (spoilt(lambda t: t["categories"].pop()), "80 of COCO"),
    "unknown category": (spoilt(lambda t: t["annotations"][0].update(category_id=12)), "unknown category"),
    "unknown photo": (spoilt(lambda t: t["annotations"][0].update(image_id=5)), "KeyError"),
    "climbs out": (spoilt(lambda t: t["images"][0].update(file_name="../x.jpg")), "outside the folder"),
    "below": (spoilt(lambda t: t["images"][0].update(file_name="a/x.jpg")), "impossible name"),
    "no name": (spoilt(lambda t: t["images"][0].pop("file_name")), "KeyError"),
    "text size": (spoilt(lambda t: t["images"][0].update(width="40")), "impossible name or size"),
    "huge": (spoilt(lambda t: t["images"][0].update(width=10**9)), "cannot be drawn"),
    "other photo": (spoilt(lambda t: t["images"][0].update(file_name="x.jpg")), "lacks 1 photos"),
    "bad code": (spoilt(lambda t: t["annotations"][2]["segmentation"].update(counts=[5])), "does not fill"),
    "bad polygon": (spoilt(lambda t: t["annotations"][0].update(segmentation=[["x"] * 6])), "a polygon must be"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_annotations(tmp_path: Path, edition: dict[str, Any], name: str) -> None:
    tree, part = SPOILT[name]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train2014.json").write_text(json.dumps(tree), encoding="utf-8")
    message = complaint(lambda: get_coco(tmp_path, **edition))
    assert part in message
    assert "\n" not in message
    assert not (tmp_path / "tags.csv").exists()


def test_hostile_photos_zip(tmp_path: Path, edition: dict[str, Any], server: FileServer) -> None:
    data = zipped({"train2014/a.jpg": b"x", "train2014/../../evil": b"boo"})
    remote: Remote = server.add("train2014.zip", data)
    parts = (replace(edition["parts"][0], archive=remote), edition["parts"][1])
    message = complaint(lambda: get_coco(tmp_path / "a/b", annotations=edition["annotations"], parts=parts))
    assert "outside the folder" in message
    assert not list(tmp_path.rglob("evil"))
