"""Corrected label maps come back from other programs, and stay whatever is made anew."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semples.core import places
from semples.core.errors import UserError
from semples.core.palette import colour, read_label_png, write_label_png
from semples.export.codes import brush_code
from semples.run.corrections import Corrections
from semples.run.pipeline import open_run
from tests import tiny
from tests.prediction import material


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corrections")
    photos = tiny.draw_photos(place / "photos", count=6)
    return material.run(place / "run", photos, settings=("labels.method=threshold",))


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def labels_of(run: Path, id: str) -> np.ndarray:
    return read_label_png(run / "labels" / f"{id}.png")


def painted(labels: np.ndarray, value: int) -> np.ndarray:
    """The labels with a square of `value`."""
    labels = labels.copy()
    labels[3:20, 4:25] = value
    return labels


def test_label_studio(run: Path, tmp_path: Path) -> None:
    """A task with an edited brush comes back; one that was accepted as it is is named; one nobody opened is left."""
    tiny.invoke("export", "labelstudio", run, "--out", tmp_path / "tasks")
    tasks: list[dict[str, Any]] = json.loads((tmp_path / "tasks/tasks.json").read_text(encoding="utf-8"))
    wanted = painted(np.zeros_like(labels_of(run, "p01")), 2)
    for task in tasks:
        name = task["data"]["image"].rpartition("=")[2].removesuffix(".png")
        results = task["predictions"][0]["result"]
        if name == "p01":
            size = {"original_width": wanted.shape[1], "original_height": wanted.shape[0]}
            value = {"format": "rle", "rle": brush_code(wanted == 2), "brushlabels": ["square"]}
            results = [
                {"id": "x", "type": "brushlabels", "from_name": "label", "to_name": "image", **size, "value": value}
            ]
        if name in ("p01", "p02"):
            task["annotations"] = [{"id": 1, "was_cancelled": False, "result": results}]
        task["data"]["image"] = f"/data/upload/3/a1b2c3d5-{name}.png"
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    before = {path.name: path.read_bytes() for path in (run / "labels").glob("*.png")}
    result = tiny.invoke("correct", run, tmp_path / "export.json")
    assert "1 photos corrected: p01" in result.out
    assert "1 masks are as the label maps are" in result.out
    np.testing.assert_array_equal(labels_of(run, "p01"), wanted)
    assert (tiny.pixels(run / "labels/confidence/p01.png") == 255).all()
    assert all((run / "labels" / name).read_bytes() == data for name, data in before.items() if name != "p01.png")
    entry = Corrections.of(run).now["p01"]
    assert entry.source.endswith("export.json: export.json, task 2")


def test_cvat(run: Path, tmp_path: Path) -> None:
    """Polygons as CVAT gives them in a COCO archive: an added one counts, edges rounded by polygons do not."""
    tiny.invoke("correct", run, tiny_masks(run, tmp_path / "first", {"p00": 1, "p03": 2}))  # things to have outlines of
    tiny.invoke("export", "cvat-coco", run, "--out", tmp_path / "cvat")
    with zipfile.ZipFile(tmp_path / "cvat/annotations.zip") as archive:
        tree = json.loads(archive.read("annotations/instances_default.json"))
    image = next(entry for entry in tree["images"] if entry["file_name"] == "p03.png")
    square = [[28.0, 22.0, 36.0, 22.0, 36.0, 28.0, 28.0, 28.0]]
    more = {"id": 999, "image_id": image["id"], "category_id": 1, "segmentation": square, "iscrowd": 0, "area": 48.0}
    tree["annotations"].append(more | {"bbox": [28, 22, 8, 6]})
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(tree))
    before = labels_of(run, "p03")
    result = tiny.invoke("correct", run, tmp_path / "job.zip")
    assert "1 photos corrected: p03" in result.out
    assert "masks are as the label maps are" in result.out
    labels = labels_of(run, "p03")
    assert (labels[23:27, 29:35] == 1).all()
    assert (labels == before).mean() > 0.9
    assert [entry.source for entry in Corrections.of(run).before["p03"]]


def tiny_masks(run: Path, folder: Path, values: dict[str, int], *, mode: str = "P") -> Path:
    """Masks with a painted square: palette PNGs, colours as a paint program leaves them, or grey values."""
    folder.mkdir()
    for id, value in values.items():
        labels = painted(np.zeros_like(labels_of(run, id)), value)
        if mode == "P":
            write_label_png(folder / f"{id}.png", labels)
        elif mode == "RGB":
            Image.fromarray(colour(labels)).save(folder / f"{id}.png")
        elif mode == "other palette":  # a program that sorts the palette anew
            picture = Image.fromarray(colour(labels)).quantize(8)
            assert not np.array_equal(np.array(picture), labels)
            picture.save(folder / f"{id}.png")
        else:
            Image.fromarray(labels).save(folder / f"{id}.tif")
    return folder


@pytest.mark.parametrize("mode", ["P", "RGB", "other palette", "L"])
def test_masks_of_a_paint_program(run: Path, tmp_path: Path, mode: str) -> None:
    tiny.invoke("correct", run, tiny_masks(run, tmp_path / "masks", {"p02": 2, "p04": 255}, mode=mode))
    np.testing.assert_array_equal(labels_of(run, "p02"), painted(np.zeros_like(labels_of(run, "p02")), 2))
    assert set(np.unique(labels_of(run, "p04"))) == {0, 255}


def test_a_map_painted_over_where_it_lies(run: Path) -> None:
    wanted = painted(labels_of(run, "p02"), 2)
    write_label_png(run / "labels/p02.png", wanted)
    out = tiny.invoke("correct", run, run / "labels").out
    assert "1 photos corrected: p02" in out
    np.testing.assert_array_equal(labels_of(run, "p02"), wanted)


def test_they_stay(run: Path, tmp_path: Path) -> None:
    """Whatever is made anew, corrected maps are those that were given; taken back, the made ones are there again."""
    plain = {path.name: path.read_bytes() for path in (run / "labels").glob("*.png")}
    tiny.invoke("correct", run, tiny_masks(run, tmp_path / "masks", {"p02": 2}))
    wanted = labels_of(run, "p02")
    tiny.invoke("label", run, "--threshold", "0.2")
    np.testing.assert_array_equal(labels_of(run, "p02"), wanted)
    shutil.rmtree(run / "labels")
    tiny.invoke("label", run, "--threshold", "0.45")
    np.testing.assert_array_equal(labels_of(run, "p02"), wanted)
    assert "1 photos corrected by hand" in tiny.invoke("status", run).out
    assert "1 photos are corrected by hand" in tiny.invoke("export", "voc", run, "--out", tmp_path / "voc").out
    assert "p02.png" in (tmp_path / "voc/corrected.md").read_text(encoding="utf-8")
    np.testing.assert_array_equal(tiny.pixels(tmp_path / "voc/SegmentationClass/p02.png"), wanted)
    tiny.invoke("report", run)
    assert (run / "report.html").read_text(encoding="utf-8").replace(" ", "").count('"corrected":true') == 1
    assert tiny.invoke("correct", run, "--remove", "p02").code == 0
    assert {path.name: path.read_bytes() for path in (run / "labels").glob("*.png")} == plain
    assert "no correction" in tiny.refused("correct", run, "--remove", "p02")
    assert list((run / "corrections/maps").glob("*.png"))  # nothing is thrown away


def test_corrected_photos_are_not_scored(run: Path, tmp_path: Path) -> None:
    masks = open_run(run).source.root / "masks"
    tiny.invoke("correct", run, masks / "p01.png", masks / "p02.png")
    tiny.invoke("score", run, "--json", tmp_path / "scores.json")
    result = json.loads((run / "scores/manifest.json").read_text(encoding="utf-8"))["result"]
    assert (result["photos"], result["corrected_left_out"]) == (4, 2)


def test_they_choose_the_threshold(run: Path) -> None:
    """Only when a setting says so; the figure is of photos that did not choose."""
    assert "semples correct" in tiny.refused("label", run, "--select", "corrections")
    masks = open_run(run).source.root / "masks"
    tiny.invoke("correct", run, masks)
    manifest = json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))
    assert manifest["result"]["threshold"] == 0.45
    tiny.invoke("label", run, "--select", "corrections")
    chosen = json.loads((run / "corrected/corrected.json").read_text(encoding="utf-8"))
    made = json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))["result"]
    assert made["threshold"] == chosen["threshold"]
    best = max(value for value in chosen["curve"]["miou"] if value is not None)
    place = chosen["curve"]["threshold"].index(chosen["threshold"])
    assert chosen["curve"]["miou"][place] == best
    assert chosen["cross_validated_miou"] <= best + 1e-9


def test_another_photo_of_the_same_name_is_not_corrected(run: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(open_run(run).source.root, tmp_path / "photos"))
    tiny.invoke("correct", run, tiny_masks(run, tmp_path / "masks", {"p02": 2, "p03": 1}))
    stored = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(stored | {"data": str(photos)}), encoding="utf-8")
    assert "2 photos corrected by hand" in tiny.invoke("status", run).out  # moved
    size = Image.open(photos / "p02.png").size
    Image.new("RGB", size, (9, 9, 9)).save(photos / "p02.png")
    out = tiny.invoke("status", run).out
    assert "1 photos corrected by hand" in out
    assert "the photo is another one than was corrected" in out


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("size", "save the mask at the photo's size"),
        ("colour", "without smoothing"),
        ("jpeg", "save it as PNG"),
        ("name", "no such photo"),
        ("class", "is no class of this run"),
        ("boxes", "it has no outlines"),
        ("none", "no such file"),
        ("text", "no annotations found"),
    ],
)
def test_what_cannot_be_used_is_one_line(run: Path, tmp_path: Path, kind: str, hint: str) -> None:
    labels = labels_of(run, "p02")
    path = tmp_path / "p02.png"
    box = {"label": "disc", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
    shape = {"label": "dragon", "points": [[1, 1], [9, 9], [1, 9]], "shape_type": "polygon"}
    if kind == "size":
        write_label_png(path, labels[:-1])
    elif kind == "colour":
        Image.fromarray(np.full((*labels.shape, 3), (1, 77, 3), np.uint8)).save(path)
    elif kind == "jpeg":
        path = tmp_path / "p02.jpg"
        Image.fromarray(labels).save(path)
    elif kind == "name":
        path = tmp_path / "other.png"
        write_label_png(path, labels)
    elif kind in ("class", "boxes"):
        path = tmp_path / "p02.json"
        told = {"version": "5", "imagePath": "p02.png", "shapes": [shape if kind == "class" else box]}
        path.write_text(
            json.dumps(told | {"imageHeight": labels.shape[0], "imageWidth": labels.shape[1]}), encoding="utf-8"
        )
    elif kind == "text":
        path = tmp_path / "notes.txt"
        path.write_text("mended", encoding="utf-8")
    line = tiny.refused("correct", run, path)
    assert hint in line
    assert not (run / "corrections/index.json").exists()


@pytest.mark.parametrize("name", ["p02.png", "p02.json", "p02.zip", "p02"])
def test_a_pipe_is_not_waited_for(run: Path, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "a named pipe" in tiny.refused("correct", run, tmp_path / name)


def test_labelme(run: Path, tmp_path: Path) -> None:
    """What LabelMe saves beside a photo."""
    labels = labels_of(run, "p03")
    points = [[5, 5], [20, 5], [20, 15], [5, 15]]
    told = {"version": "5.4.1", "flags": {}, "imagePath": "p03.png", "imageData": None}
    told |= {"imageHeight": labels.shape[0], "imageWidth": labels.shape[1]}
    shape = {"label": "disc", "points": points, "shape_type": "polygon", "flags": {}, "group_id": None}
    (tmp_path / "p03.json").write_text(json.dumps(told | {"shapes": [shape]}), encoding="utf-8")
    tiny.invoke("correct", run, tmp_path / "p03.json")
    labels = labels_of(run, "p03")
    assert (labels[6:15, 6:20] == 1).all()
    assert (labels == 1).sum() < 200


@pytest.mark.parametrize("damage", ["cut", "gone", "a digit", "another shape"])
def test_a_damaged_index_is_read_from_its_copy(run: Path, tmp_path: Path, damage: str) -> None:
    masks = tiny_masks(run, tmp_path / "masks", {"p02": 2})
    tiny.invoke("correct", run, masks)
    index, copy = run / "corrections/index.json", run / "corrections/index.copy.json"
    whole = index.read_text(encoding="utf-8")
    sha = json.loads(whole)["photos"]["p02"]["sha256"]
    other = sha[:-1] + ("0" if sha[-1] != "0" else "1")
    damaged = {"cut": whole[:50], "a digit": whole.replace(sha, other), "another shape": "[]"}.get(damage)
    for path in (index, copy):
        path.unlink()
        if damaged is not None:
            path.write_text(damaged, "utf-8")
        assert sorted(Corrections.of(run).now) == ["p02"]
        assert "up to date" in tiny.invoke("label", run).err
        tiny.invoke("correct", run, masks)
        assert index.read_text(encoding="utf-8") == copy.read_text(encoding="utf-8") == whole
    for path in (index, copy):
        path.unlink()
        if damaged is not None:
            path.write_text(damaged, "utf-8")
    assert "put back the file" in tiny.refused("label", run)


def test_a_folder_of_many_maps_is_parted(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two flat ones of before stay where they are, further ones lie by the digits of their names; all are read."""
    shades = {f"p{place:02d}": 1 + place % 2 for place in range(6)}
    first = dict(list(shades.items())[:2])
    monkeypatch.setattr(places, "MOST", 10)
    tiny.invoke("correct", run, tiny_masks(run, tmp_path / "first", first))
    maps = run / "corrections" / "maps"
    before = {path.name for path in maps.glob("*.png")}
    assert len(before) == 2
    monkeypatch.setattr(places, "MOST", 3)
    tiny.invoke("correct", run, tiny_masks(run, tmp_path / "all", shades))
    flat, deep = ({path.name for path in maps.glob(pattern)} for pattern in ("*.png", "*/*.png"))
    assert (len(flat), len(deep)) == (3, 3)
    assert before < flat
    assert all(path.parent.name == path.name[:2] for path in maps.glob("*/*.png"))
    for id, value in shades.items():
        np.testing.assert_array_equal(labels_of(run, id), painted(np.zeros_like(labels_of(run, id)), value))
    again = next(iter(deep))
    whole = (maps / again[:2] / again).read_bytes()
    (maps / again[:2] / again).write_bytes(whole[:40])
    assert "is missing or damaged" in tiny.invoke("status", run).out
    tiny.invoke("correct", run, tmp_path / "all")
    assert (maps / again[:2] / again).read_bytes() == whole
    for path in list(maps.glob("*.png")):
        path.unlink()
    for name in ("index.json", "index.copy.json"):
        (run / "corrections" / name).unlink()
    assert "put back the file" in tiny.refused("label", run)


@pytest.mark.parametrize("damage", [b"", b"x" * 50, None])
def test_a_damaged_map_is_written_again(run: Path, tmp_path: Path, damage: bytes | None) -> None:
    masks = tiny_masks(run, tmp_path / "masks", {"p02": 2})
    tiny.invoke("correct", run, masks)
    (path,) = (run / "corrections/maps").glob("*.png")
    index, whole = (run / "corrections/index.json").read_bytes(), path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    tiny.invoke("correct", run, masks)
    assert path.read_bytes() == whole
    assert (run / "corrections/index.json").read_bytes() == index


def test_cut_before_the_label_maps_show_them(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrections are stored, or taken back, and the program ends before, or while, the label maps follow."""
    masks, wanted = tiny_masks(run, tmp_path / "masks", {"p02": 2}), None
    plain = labels_of(run, "p02")
    for more, corrected in (((masks,), True), (("--remove", "p02"), False)):
        steps = "semples.run.steps.labels"
        for place in ("semples.run.graph.bring", f"{steps}.chosen_threshold", f"{steps}.write_labels"):
            with monkeypatch.context() as patch:
                patch.setattr(place, cut)
                assert "cut" in tiny.refused("correct", run, *more)
        tiny.invoke("correct", run, *more)
        wanted = painted(np.zeros_like(plain), 2) if corrected else plain
        np.testing.assert_array_equal(labels_of(run, "p02"), wanted)
        assert "labels: up to date" in tiny.invoke("label", run).err


def cut(*given: object, **more: object) -> None:
    raise UserError("cut")


def test_cut_before_the_index_is_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that was stored without a word of it in the index is no lost index."""
    masks = tiny_masks(run, tmp_path / "masks", {"p02": 2})
    with monkeypatch.context() as patch:
        patch.setattr("semples.run.corrections.Corrections._retire", cut)
        assert "cut" in tiny.refused("correct", run, masks)
    assert list((run / "corrections/maps").glob("*.png"))
    assert "1 photos corrected: p02" in tiny.invoke("correct", run, masks).out
