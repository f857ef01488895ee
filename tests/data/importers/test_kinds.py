"""Annotations as practitioners have them, a small folder each: what must come out, be set aside, or be said."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semples.core.errors import UserError
from semples.data.importers import import_annotations
from tests.data.builders import save
from tests.data.importers.importing import masks, photo, tags, write

SIZE = (80, 64)
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
OUTLINE = [[8, 8, 30, 8, 30, 30, 18, 34, 8, 30]]
BOX = {"x": 1, "y": 1, "width": 9, "height": 9}


@dataclass(frozen=True)
class Kind:
    """Photos, files (JSON data as such), and the tags that come out, None for a photo that is not taken over."""

    tags: dict[str, set[str] | None]
    files: dict[str, Any]
    says: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    start: str = "."
    without: tuple[str, ...] = ()  # named in files or tags, but not there


def coco(images: list[tuple[Any, str]], notes: list[tuple[Any, Any]], **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": number, "file_name": name} for number, name in images],
        "annotations": [{"image_id": image, "category_id": category, **more} for image, category in notes],
        "categories": CATEGORIES,
    }


def task(name: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": name}, "annotations": [{"result": list(results), **more}]}


def choices(*names: str) -> dict[str, Any]:
    return {"type": "choices", "value": {"choices": list(names)}}


def region(kind: str, number: str = "r", **value: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "original_width": 80, "original_height": 64, "value": value}


def voc(name: str, *objects: str) -> str:
    things = "".join(f"<object><name>{thing}</name></object>" for thing in objects)
    return f"<annotation><filename>{name}</filename>{things}</annotation>"


KINDS = {
    "coco: ids as text, floats and names": Kind(
        {"a.jpg": {"cat"}, "b.jpg": {"dog"}},
        {"x.json": coco([("1", "a.jpg"), (2.0, "b.jpg")], [(1, "1"), ("b.jpg", 2.0)])},
    ),
    "coco: one id for two photos": Kind(
        {"a.jpg": None, "b.jpg": None, "c.jpg": {"dog"}},
        {"x.json": coco([(1, "a.jpg"), (1, "b.jpg"), (3, "c.jpg")], [(1, 1), (3, 2)])},
        says=("2 photos have the id 1",),
    ),
    "coco: annotations of photos that are not listed": Kind(
        {"a.jpg": {"cat"}, "b.jpg": None},
        {"x.json": coco([(1, "a.jpg"), (2, "b.jpg")], [(1, 1), (77, 2)])},
        says=("belong to no photo",),
    ),
    "coco: a listed photo with nothing on it": Kind(
        {"a.jpg": {"cat"}, "b.jpg": set()},
        {"x.json": coco([(1, "a.jpg"), (2, "b.jpg")], [(1, 1)])},
        says=("1 photos and marks nothing", "b.jpg"),
    ),
    "coco: boxes written as outlines": Kind(
        {"a.jpg": {"cat"}},
        {"x.json": coco([(1, "a.jpg")], [(1, 1)], bbox=[5, 5, 10, 10], segmentation=[[5, 5, 15, 5, 15, 15, 5, 15]])},
        says=("four corners",),
    ),
    "coco: a part without annotations": Kind(
        {"train/a.jpg": {"cat"}, "test/b.jpg": None},
        {"train/_a.coco.json": coco([(0, "a.jpg")], [(0, 1)]), "test/_a.coco.json": coco([(0, "b.jpg")], [])},
        says=("holds no annotation",),
    ),
    "coco: addresses in place of names (LVIS)": Kind(
        {"000001.jpg": {"cat"}},
        {"x.json": coco([(1, "")], [(1, 1)]) | {"images": [{"id": 1, "coco_url": "http://host/val2017/000001.jpg"}]}},
    ),
    "voc: a photo without XML, parts with the same names": Kind(
        {"train/a.jpg": {"cat"}, "valid/a.jpg": {"dog"}, "valid/b.jpg": None},
        {"train/a.xml": voc("a.jpg", "cat"), "valid/a.xml": voc("a.jpg", "dog")},
    ),
    "yolo: a number without a name, a class alone": Kind(
        {"images/a.jpg": None, "images/b.jpg": {"dog"}},
        {"labels/a.txt": "7 .5 .5 .1 .1", "labels/b.txt": "1\n", "data.yaml": "names: [cat, dog]"},
        says=("no class has the number 7",),
    ),
    "yolo: key points with visibilities": Kind(
        {"images/a.jpg": {"cat"}},
        {"labels/a.txt": "0 .5 .5 .4 .4 .5 .5 2 .6 .6 1 0 0 0", "data.yaml": "names: [cat]"},
        says=("key points",),
    ),
    "yolo: a text file of no photo": Kind(
        {"a.jpg": {"cat"}},
        {"a.txt": "0 .5 .5 .1 .1", "zz.txt": "0 .5 .5 .1 .1", "classes.txt": "cat"},
        says=("zz.txt",),
    ),
    "yolo: a yaml of another computer": Kind(
        {"images/a.jpg": {"cat"}},
        {"labels/a.txt": "0 .5 .5 .1 .1", "data.yaml": "path: /content/x\nnames: [cat]"},
        start="data.yaml",
    ),
    "label studio: only cancelled": Kind(
        {"a.jpg": None, "b.jpg": {"dog"}},
        {"x.json": [task("a.jpg", choices("cat"), was_cancelled=True), task("/data/upload/1/b.jpg", choices("dog"))]},
        says=("not annotated",),
    ),
    "label studio: a region without a label": Kind(
        {"a.jpg": None, "b.jpg": {"cat"}},
        {"x.json": [task("a.jpg", region("rectangle", **BOX)), task("b.jpg", choices("cat"))]},
        says=("names no class",),
    ),
    "label studio: a region's taxonomy, a photo's choice, a text": Kind(
        {"a.jpg": {"van", "indoor"}},
        {"x.json": [task(
            "a.jpg", region("rectanglelabels", rectanglelabels=["van"], **BOX), choices("indoor"),
            region("taxonomy", taxonomy=[["state", "new"]], **BOX), {"type": "textarea", "value": {"text": ["hello"]}},
        )]},
    ),
    "label studio: paths of a taxonomy that end alike": Kind(
        {"a.jpg": {"plant / mint"}, "b.jpg": {"coin / mint", "gold"}},
        {"x.json": [
            task("a.jpg", {"type": "taxonomy", "value": {"taxonomy": [["plant", "mint"]]}}),
            task("b.jpg", {"type": "taxonomy", "value": {"taxonomy": [["coin", "mint"], ["metal", "gold"]]}}),
        ]},
    ),
    "label studio: predictions, asked for": Kind(
        {"a.jpg": {"cat"}},
        {"x.json": [{"id": 1, "data": {"image": "a.jpg"}, "predictions": [{"result": [choices("cat")]}]}]},
        options={"predictions": True},
    ),
    "labelme: a file that is lost": Kind(
        {"a.jpg": {"cat"}, "b.jpg": None, "c.jpg": None},
        {"a.json": {"shapes": [{"label": "cat", "points": [[1, 1]], "shape_type": "point"}], "imagePath": "a.jpg"},
         "b.json": '{"shapes": ['},
        says=("b.json", "not read"),
    ),
    "table: Label Studio's CSV": Kind(
        {"a.jpg": {"cat", "dog"}, "b.jpg": set()},
        {"t.csv": 'image,id,label\na.jpg,1,"[{""x"":1,""rectanglelabels"":[""cat"",""dog""]}]"\nb.jpg,2,[]\n'},
    ),
    "table: a missing value": Kind(
        {"a.jpg": {"cat"}, "b.jpg": None}, {"t.csv": "image,label\na.jpg,cat\nb.jpg,nan\n"}, says=("b.jpg", "missing")
    ),
    "table: two roots that both mean one photo": Kind(
        {"001.jpg": None, "b.jpg": {"cat"}},
        {"t.csv": "image,tags\nD:\\x\\001.jpg,cat\nD:\\y\\001.jpg,dog\nb.jpg,cat\n"},
        says=("001.jpg", "names of other folders"),
    ),
    "table: a name in another part": Kind(
        {"train/a.jpg": None, "train/b.jpg": {"cat"}}, {"t.csv": "image,tags\ntest/a.jpg,cat\ntrain/b.jpg,cat\n"}
    ),
    "folders: a class called mask": Kind(
        {"mask/a.jpg": {"mask"}, "no_mask/b.jpg": {"no_mask"}}, {}, says=("mask (1), no_mask (1)",)
    ),
    "folders: one alone, said to be a class": Kind({"owls/a.jpg": {"owls"}}, {}, options={"format": "folders"}),
    "an archive with everything": Kind({"images/a.jpg": {"cat"}}, {"y.zip": {
        "data.yaml": "names: [cat]", "train/images/a.jpg": None, "train/labels/a.txt": "0 .5 .5 .1 .1",
    }}, start="y.zip", without=("images/a.jpg",)),
}  # fmt: skip


def build(root: Path, kind: Kind) -> None:
    root.mkdir()
    for number, name in enumerate(kind.tags):
        if name not in kind.without:
            photo(root / name, SIZE, number)
    for name, content in kind.files.items():
        if name.endswith(".zip"):
            picture = io.BytesIO()
            Image.new("RGB", SIZE).save(picture, "JPEG")
            with zipfile.ZipFile(root / name, "w") as archive:
                for member, text in content.items():
                    archive.writestr(member, picture.getvalue() if text is None else text)
        else:
            write(root / name, content)


@pytest.mark.parametrize("name", KINDS)
def test_tags_are_as_meant_or_the_photo_is_set_aside(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    build(tmp_path / "in", kind)
    result = import_annotations(tmp_path / "in" / kind.start, tmp_path / "out", **kind.options)
    told = {photo.removeprefix("images/"): shown for photo, shown in tags(tmp_path / "out").items()}
    expected = {str(Path(photo).with_suffix("")): shown for photo, shown in kind.tags.items() if shown is not None}
    assert {Path(photo).name if kind.without else photo: shown for photo, shown in told.items()} == {
        Path(photo).name if kind.without else photo.removeprefix("images/"): shown for photo, shown in expected.items()
    }
    lost = {photo for photo, shown in kind.tags.items() if shown is None}
    assert lost == set(result.set_aside) | set(result.unlabelled)
    assert result.seen == result.photos + len(lost)
    said = "\n".join([*(f"{p.where}: {p.what}" for p in result.problems), *result.notes])
    assert all(part in said for part in kind.says), said
    if lost:
        assert {
            line.split(",")[0] for line in (tmp_path / "out/set_aside.csv").read_text(encoding="utf-8").splitlines()[1:]
        } == lost


REFUSED = {
    "coco: nothing joins": ({"x.json": coco([(1, "a.jpg")], [(7, 1)])}, "none of its 1 annotations"),
    "coco: captions": ({"x.json": coco([(1, "a.jpg")], [(1, 1)], caption="x") | {"categories": []}}, "captions"),
    "coco results": ({"x.json": [{"image_id": 1, "category_id": 1, "score": 0.5}]}, "COCO results"),
    "predictions alone": (
        {"x.json": [{"id": 1, "data": {"image": "a.jpg"}, "predictions": [{"result": []}]}]}, "--predictions",
    ),
    "cvat for video": ({"x.xml": "<annotations><track id='0' label='cat'/></annotations>"}, "CVAT for video"),
    "via 3": ({"x.json": {"view": {}, "metadata": {}, "file": {}}}, "VIA 3"),
    "sentences": ({"t.csv": "image,caption\na.jpg,a dog runs over the green grass\n"}, "no column of tags"),
    "numbers without names": ({"metadata.jsonl": '{"file_name": "a.jpg", "label": 3}\n'}, "labels are numbers"),
    "a yaml that leads nowhere": ({"x.yaml": "path: /no/such\nnames: [cat]"}, "/no/such"),
    "an archive beside photos": ({"y.zip": {"x.json": "{}"}}, "unpack"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_tells_no_tags_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    files, part = REFUSED[name]
    build(tmp_path / "in", Kind({"a.jpg": None}, files))
    start = tmp_path / "in" / next(iter(files)) if name.startswith("a yaml") else tmp_path / "in"
    with pytest.raises(UserError) as caught:
        import_annotations(start, tmp_path / "out")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/tags.csv").exists()


@pytest.mark.parametrize(
    "folders",
    [("images",), ("train2017", "val2017"), ("JPEGImages",), ("DCIM/100CANON", "DCIM/101CANON"),
     ("2021-05-03", "2021-05-04"), ("train1", "test_2"), ("leftImg8bit/train/aachen", "leftImg8bit/train/bochum")],
)  # fmt: skip
def test_folders_of_a_layout_are_no_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for place, folder in enumerate(folders):
        photo(tmp_path / "in" / folder / f"{place}.png", SIZE, place)
    if "leftImg8bit" in folders[0]:
        save(tmp_path / "in/gtFine/train/aachen/0.png", np.zeros((64, 80), np.uint8))
    with pytest.raises(UserError, match="no annotations"):
        import_annotations(tmp_path / "in", tmp_path / "out")


# ------------------------------------------------------------------------------------------------------------ masks


def drawn(root: Path, *places: tuple[tuple[int, int, int, int], Any], colours: bool = False) -> None:
    values = np.zeros((64, 80, 3) if colours else (64, 80), np.uint8)
    for (left, top, right, bottom), value in places:
        values[top:bottom, left:right] = value
    save(root, values)


def test_vocs_masks_come_with_their_classes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        photo(tmp_path / f"in/JPEGImages/{name}.jpg", SIZE, ord(name))
    drawn(tmp_path / "in/SegmentationClass/a.png", ((1, 1, 20, 20), 8), ((30, 30, 50, 50), 12), ((60, 1, 62, 9), 255))
    write(tmp_path / "in/Annotations/a.xml", voc("a.jpg", "cat", "dog"))
    write(tmp_path / "in/Annotations/b.xml", voc("b.jpg", "dog"))
    result = import_annotations(tmp_path / "in", tmp_path / "out")
    labels = masks(tmp_path / "out")["JPEGImages/a"]
    assert result.masks == 1
    assert [labels[5, 5], labels[40, 40], labels[5, 61], labels[60, 70]] == [1, 2, 255, 0]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_classes_of_values_are_deduced_from_the_xml_files_or_refused(tmp_path: Path, order: tuple[int, int]) -> None:
    yak, zebu = order
    for name in ("a", "b"):
        photo(tmp_path / f"in/JPEGImages/{name}.jpg", SIZE, ord(name))
    drawn(tmp_path / "in/SegmentationClass/a.png", ((1, 1, 20, 20), zebu), ((30, 30, 50, 50), yak))
    write(tmp_path / "in/Annotations/a.xml", voc("a.jpg", "yak", "zebu"))
    write(tmp_path / "in/Annotations/b.xml", voc("b.jpg", "yak"))
    refused = import_annotations(tmp_path / "in", tmp_path / "first")
    assert refused.masks == 0
    assert "not taken over" in refused.problems[0].what
    drawn(tmp_path / "in/SegmentationClass/b.png", ((1, 1, 20, 20), yak))
    assert import_annotations(tmp_path / "in", tmp_path / "out").masks == 2
    labels = masks(tmp_path / "out")
    assert [labels["JPEGImages/a"][5, 5], labels["JPEGImages/a"][40, 40], labels["JPEGImages/b"][5, 5]] == [2, 1, 1]


@pytest.mark.parametrize("form", ["order", "colours", "open"])
def test_masks_with_a_list_of_their_classes(tmp_path: Path, form: str) -> None:
    photo(tmp_path / "in/images/a.jpg", SIZE)
    road, car = ((250, 50, 83), (0, 9, 200)) if form == "colours" else (1, 2)
    places = (((1, 1, 20, 20), car), ((30, 30, 50, 50), road))
    drawn(tmp_path / "in/labels/a.png", *places, colours=form == "colours")
    lists = {
        "order": ("codes.txt", "Void\nroad\ncar\n"),
        "colours": (
            "labelmap.txt",
            "# label:color_rgb\nbackground:0,0,0::\nroad:250,50,83::\ncar:0,9,200::\n",
        ),
        "open": ("classes.txt", "animal\nroad\ncar\n"),  # 1 may be animal or road
    }
    write(tmp_path / "in" / lists[form][0], lists[form][1])
    if form == "open":
        with pytest.raises(UserError, match="0 or 1"):
            import_annotations(tmp_path / "in", tmp_path / "out")
        return
    result = import_annotations(tmp_path / "in", tmp_path / "out")
    assert (result.format, result.classes) == ("masks", ("road", "car"))
    assert tags(tmp_path / "out") == {"images/a": {"road", "car"}}
    labels = masks(tmp_path / "out")["images/a"]
    assert [labels[5, 5], labels[40, 40], labels[60, 70]] == [2, 1, 0]


def test_panoptic_masks_and_what_is_on_top_in_cvat(tmp_path: Path) -> None:
    photo(tmp_path / "p/a.jpg", SIZE)
    drawn(tmp_path / "p/panoptic_val/a.png", ((10, 10, 30, 30), (5, 1, 0)), colours=True)
    segments = [{"id": 261, "category_id": 2}]
    tree = coco([(1, "a.jpg")], []) | {
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}]
    }
    write(tmp_path / "p/panoptic_val.json", tree)
    import_annotations(tmp_path / "p", tmp_path / "panoptic")
    assert sorted(np.unique(masks(tmp_path / "panoptic")["images/a"][10:30, 10:30])) == [2]
    photo(tmp_path / "c/a.jpg", SIZE)
    shapes = '<polygon label="cat" points="0,0;40,0;40,40;0,40" z_order="1"/>'
    shapes += '<polygon label="dog" points="10,10;60,10;60,60;10,60" z_order="0"/>'
    image = f'<image id="0" name="sub/a.jpg" width="80" height="64">{shapes}</image>'
    write(tmp_path / "c/annotations.xml", f"<annotations>{image}</annotations>")
    import_annotations(tmp_path / "c", tmp_path / "cvat")
    labels = masks(tmp_path / "cvat")["images/a"]
    assert [labels[20, 20], labels[50, 50]] == [1, 2]


def test_bombs_and_climbing_archives_are_refused(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.jpg", SIZE)
    with zipfile.ZipFile(tmp_path / "climb.zip", "w") as archive:
        archive.writestr("../evil.json", json.dumps({}))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", b" " * 100_000_000)
    for name, part in (("climb.zip", "outside the folder"), ("bomb.zip", "refused")):
        with pytest.raises(UserError, match=part):
            import_annotations(tmp_path / name, tmp_path / "out", photos=tmp_path / "in")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "climb.zip", "bomb.zip"}
