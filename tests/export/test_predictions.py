"""Predictions of new photos go out to be corrected elsewhere, and come back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from semples.core.palette import read_label_png
from semples.export import export_labels
from semples.prediction.exported import source_of_predictions
from tests import tiny
from tests.prediction import material
from tests.prediction.test_large import blocks

# Formats that come back to the pixel, with the options that make them exact; where the annotations are then.
WAYS: dict[str, tuple[list[str], str]] = {
    "voc": ([], ""),
    "coco": ([], ""),
    "yolo": (["--tolerance", "0"], ""),
    "labelstudio": ([], ""),
    "cvat-coco": (["--shapes", "rle"], "annotations.zip"),
    "cvat-voc": ([], "annotations.zip"),
}
SIZES = {"a.png": (40, 56), "sub/b.png": (64, 48), "sub/ü c.png": (33, 90)}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and their predictions in out/; tests only read it."""
    place = tmp_path_factory.mktemp("predicted")
    for seed, (name, size) in enumerate(SIZES.items()):
        (place / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks(*size, seed=seed)).save(place / "photos" / name)
    tiny.invoke("predict", material.package(place / "model"), place / "photos", "--out", place / "out")
    return place


def labels_by_size(folder: Path) -> dict[tuple[int, ...], np.ndarray]:
    maps = [read_label_png(path) for path in folder.rglob("*.png")]
    return {labels.shape: labels for labels in maps}


@pytest.mark.parametrize("name", WAYS)
def test_predictions_come_back(name: str, predicted: Path, tmp_path: Path) -> None:
    options, place = WAYS[name]
    out, back = tmp_path / "out", tmp_path / "back"
    assert "3 photos" in tiny.invoke("export", name, predicted / "out", "--out", out, *options).out
    photos = [] if name == "yolo" else ["--photos", predicted / "photos"]
    told = ["--predictions"] if name == "labelstudio" else []
    tiny.invoke("data", "import", out / place, "--out", back, *photos, *told)
    before, after = labels_by_size(predicted / "out" / "labels"), labels_by_size(back / "masks")
    assert set(after) == set(before) == set(SIZES.values())
    for size, labels in before.items():
        np.testing.assert_array_equal(after[size], labels)
    assert (back / "classes.txt").read_text(encoding="utf-8") == "disc\nsquare\n"
    tiny.invoke("data", "check", back)


def test_unsure_pixels_come_back_in_a_voc_tree(predicted: Path, tmp_path: Path) -> None:
    model, photos = predicted / "model", predicted / "photos"
    tiny.invoke("predict", model, photos, "--out", tmp_path / "open", "--min-confidence", "0.5")
    tiny.invoke("export", "voc", tmp_path / "open", "--out", tmp_path / "voc")
    tiny.invoke("data", "import", tmp_path / "voc", "--photos", photos, "--out", tmp_path / "back")
    before, after = labels_by_size(tmp_path / "open" / "labels"), labels_by_size(tmp_path / "back" / "masks")
    assert any((labels == 255).any() for labels in before.values())
    for size, labels in before.items():
        np.testing.assert_array_equal(after[size], labels)


def test_corrected_cvat_masks_come_back(predicted: Path, tmp_path: Path) -> None:
    """As CVAT writes them: in folders, colours of its own, labels in another order, a background category."""
    root = tmp_path / "cvat"
    (root / "SegmentationClass" / "sub").mkdir(parents=True)
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nsquare:10,20,30::\ndisc:40,50,60::\n",
        encoding="utf-8",
    )
    drawn = np.zeros((64, 48, 3), np.uint8)
    drawn[:20], drawn[30:] = (10, 20, 30), (40, 50, 60)
    Image.fromarray(drawn).save(root / "SegmentationClass" / "sub" / "b.png")
    shutil.make_archive(str(tmp_path / "cvat"), "zip", root)
    for source, out in ((root, "one"), (tmp_path / "cvat.zip", "two")):
        tiny.invoke("data", "import", source, "--photos", predicted / "photos", "--out", tmp_path / out)
        assert (tmp_path / out / "classes.txt").read_text(encoding="utf-8") == "square\ndisc\n"
        (mask,) = labels_by_size(tmp_path / out / "masks").values()
        assert (mask[:20] == 1).all()
        assert (mask[20:30] == 0).all()
        assert (mask[30:] == 2).all()
    drawn[0, 0] = (1, 2, 3)
    Image.fromarray(drawn).save(root / "SegmentationClass" / "sub" / "b.png")
    assert "holds the value (1, 2, 3), which has no class" in tiny.refused(
        "data", "import", root, "--photos", predicted / "photos", "--out", tmp_path / "three"
    )


def test_a_hostile_archive_is_refused(predicted: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../../outside.json", "{}")
    line = tiny.refused(
        "data", "import", tmp_path / "bad.zip", "--photos", predicted / "photos", "--out", tmp_path / "x"
    )
    assert "would land outside" in line
    assert not (tmp_path.parent / "outside.json").exists()


def test_photos_that_moved_or_changed(predicted: Path, tmp_path: Path) -> None:
    place = shutil.copytree(predicted, tmp_path / "work")
    tiny.invoke("predict", place / "model", place / "photos", "--out", place / "new")
    moved = shutil.move(place / "photos", place / "elsewhere")
    assert export_labels("coco", source_of_predictions(place / "new"), tmp_path / "coco").photos == 3  # needs no photo
    assert "no such file" in tiny.refused("export", "yolo", place / "new", "--out", tmp_path / "x")
    tiny.invoke("export", "yolo", place / "new", "--out", tmp_path / "yolo", "--data", moved)
    assert len(list((tmp_path / "yolo" / "images" / "train").iterdir())) == 3
    Image.fromarray(blocks(9, 9)).save(place / "elsewhere" / "a.png")
    assert "has changed since it was predicted" in tiny.refused(
        "export", "coco", place / "new", "--out", tmp_path / "x", "--data", moved
    )


@pytest.mark.parametrize("text", ["[]\n", '{"id": "../x"}\n', ""])
def test_a_journal_of_no_use_is_one_line(text: str, predicted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(predicted / "out", tmp_path / "out")
    (out / "photos.jsonl").write_text(text, encoding="utf-8")
    line = tiny.refused("export", "coco", out, "--out", tmp_path / "coco")
    assert "no photo is predicted" in line
    assert ("damaged" in line) == bool(text)


def _cut_line(out: Path) -> str:
    """The line of sub/b.png cut in two; what is said of it."""
    lines = (out / "photos.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [line[: len(line) // 2] if '"name": "sub/b.png"' in line else line for line in lines]
    (out / "photos.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "its photo's line in photos.jsonl is damaged"


def _halved(out: Path) -> str:
    path = out / "labels" / "sub" / "b.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "this label map is damaged"


def _flipped(out: Path) -> str:
    path = out / "labels" / "sub" / "b.png"
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 10] ^= 4
    path.write_bytes(data)
    return "this label map is damaged"


def _deleted(out: Path) -> str:
    (out / "labels" / "sub" / "b.png").unlink()
    return "this label map is missing"


@pytest.mark.parametrize("damage", [_cut_line, _halved, _flipped, _deleted])
def test_damaged_predictions_are_named_and_made_again(
    damage: Callable[[Path], str], predicted: Path, tmp_path: Path
) -> None:
    """The others are exported, with status 1; the same `predict` brings the label map back; then all are exported."""
    out = shutil.copytree(predicted / "out", tmp_path / "out")
    before = (out / "labels" / "sub" / "b.png").read_bytes()
    hint = damage(out)
    ended = tiny.invoke("export", "coco", out, "--out", tmp_path / "coco", check=False)
    assert ended.code == 1
    assert len(ended.err.strip().splitlines()) == 1
    assert f"{out / 'labels' / 'sub' / 'b.png'}: {hint}" in ended.err
    assert "the other 2 photos are exported" in ended.err
    assert len(COCO(str(tmp_path / "coco" / "instances.json")).getImgIds()) == 2
    told = tiny.invoke("predict", predicted / "model", predicted / "photos", "--out", out).out
    assert "3 photos, 2 of them by an earlier call" in told
    assert (out / "labels" / "sub" / "b.png").read_bytes() == before
    tiny.invoke("export", "coco", out, "--out", tmp_path / "all")
    assert len(COCO(str(tmp_path / "all" / "instances.json")).getImgIds()) == 3


def test_formats_with_cams_say_that_there_are_none(predicted: Path, tmp_path: Path) -> None:
    assert "predictions have none" in tiny.refused("export", "fma-wsss", predicted / "out", "--out", tmp_path / "x")
    assert "a run knows its photos" in tiny.refused(
        "export", "voc", predicted / "model", "--out", tmp_path / "x", "--data", predicted / "photos"
    )


def test_coco_of_predictions_opens_in_pycocotools(predicted: Path, tmp_path: Path) -> None:
    tiny.invoke("export", "coco", predicted / "out", "--out", tmp_path / "coco")
    coco = COCO(str(tmp_path / "coco" / "instances.json"))
    for image in coco.loadImgs(coco.getImgIds()):
        labels = read_label_png((predicted / "out" / "labels" / image["file_name"]).with_suffix(".png"))
        assert SIZES[image["file_name"]] == (image["height"], image["width"])
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            inside = coco.annToMask(annotation).astype(bool)
            assert (labels[inside] == annotation["category_id"]).all()
            assert annotation["area"] == inside.sum()
    assert json.loads((tmp_path / "coco" / "instances.json").read_text(encoding="utf-8"))["info"][
        "description"
    ].startswith("out,")
