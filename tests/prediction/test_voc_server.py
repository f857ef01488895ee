"""The evaluation server's archive: right names, VOC's palette, the photos of the list test."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.core.errors import UserError
from semples.core.palette import voc_palette
from semples.core.schema import to_dict
from semples.data.classes import VOC_CLASSES
from semples.prediction.voc_server import pack
from semples.recipe import Recipe
from semples.segmenter.build import build_segmenter
from semples.segmenter.package import write_package
from tests import tiny
from tests.prediction import material
from tests.segmenter import material as segmenters

TEST = ("2008_000006", "2008_000011")
PLACE = "results/VOC2012/Segmentation/comp6_test_cls"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of VOC's classes with random weights."""
    folder = tmp_path_factory.mktemp("voc")
    config = replace(segmenters.CONFIG, classes=VOC_CLASSES.names)
    made = build_segmenter(f"scratch:{segmenters.folder(folder / 'config', 'semples_vit')}", config=config, seed=0)
    write_package(made, folder / "model", recipe=to_dict(Recipe()), card=replace(material.CARD, tagged={}))
    return folder / "model"


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """VOC2012test as it is unpacked: photos of which the list names some."""
    folder = tmp_path / "VOCdevkit/VOC2012"
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for index, name in enumerate((*TEST, "2008_000001")):
        Image.new("RGB", (40 + index, 30), (200, 90, 20 * index)).save(folder / f"JPEGImages/{name}.jpg")
    (folder / "ImageSets/Segmentation/test.txt").write_text("".join(f"{name}\n" for name in TEST), encoding="utf-8")
    return tmp_path / "VOCdevkit"


def test_the_archive_of_the_list_test(model: Path, devkit: Path, tmp_path: Path) -> None:
    said = tiny.invoke("predict", model, devkit, "--out", tmp_path / "out", "--voc-server").out
    assert "results.tgz, 2 photos" in said.replace("\n", "")
    with tarfile.open(tmp_path / "out/results.tgz") as tar:
        assert tar.getnames() == [f"{PLACE}/{name}.png" for name in TEST]
        tar.extractall(tmp_path / "there", filter="data")
    for index, name in enumerate(TEST):
        with Image.open(tmp_path / "there" / PLACE / f"{name}.png") as image:
            assert (image.mode, image.size) == ("P", (40 + index, 30))
            assert image.getpalette()[:63] == voc_palette()[:21].reshape(-1).tolist()
            labels = np.array(image)
        assert labels.max() <= 20
        with Image.open(tmp_path / "out/labels" / f"{name}.png") as png:
            np.testing.assert_array_equal(labels, np.array(png))
    before = (tmp_path / "out/results.tgz").read_bytes()
    tiny.invoke("predict", model, devkit / "VOC2012", "--out", tmp_path / "out", "--voc-server")
    assert (tmp_path / "out/results.tgz").read_bytes() == before


def test_photos_without_a_list(model: Path, devkit: Path, tmp_path: Path) -> None:
    photos = devkit / "VOC2012/JPEGImages"
    tiny.invoke("predict", model, photos, "--out", tmp_path / "out", "--voc-server")
    with tarfile.open(tmp_path / "out/results.tgz") as tar:
        assert len(tar.getnames()) == 3
    (photos / f"{TEST[1]}.jpg").unlink()
    assert "the list test names it" in tiny.refused("predict", model, devkit, "--out", tmp_path / "2", "--voc-server")


def test_what_the_server_would_not_take(packages: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    model = packages["semples_vit"]
    shutil.copy(photos / "p00.png", tmp_path)
    line = tiny.refused("predict", model, tmp_path / "p00.png", "--out", tmp_path / "out", "--voc-server")
    assert "VOC's 20 classes" in line
    assert not (tmp_path / "out" / "results.tgz").exists()
    with pytest.raises(UserError, match="two photos have the same name"):
        pack(tmp_path, ["a/x", "b/x"], tmp_path, classes=VOC_CLASSES.names)
