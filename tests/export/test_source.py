"""A run's folder as what is exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.palette import read_label_png, write_label_png
from semples.data.dataset import ClassList
from semples.export import export_labels, source_of_photos, source_of_run
from semples.recipe import Recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.records import finish
from tests.tiny import draw_photos


@pytest.fixture
def run(tmp_path: Path) -> Context:
    """A run whose photos are listed; its label maps are the masks."""
    photos = draw_photos(tmp_path / "photos", count=3)
    context = Context(Recipe(), Source(photos), tmp_path / "run")
    pipeline.run(context, steps=["data"])
    for item in context.scored_dataset.items:
        labels = context.scored_dataset.mask(item)
        assert labels is not None
        write_label_png(context.folder("labels") / f"{item.id}.png", labels)
        cams = {index: (labels == index + 1).astype(np.float32) for index in item.tags}
        CamStore(context.folder("cams")).write(item.id, cams, labels.shape)
    return context


def test_a_run_is_exported(run: Context, tmp_path: Path) -> None:
    source = source_of_run(pipeline.open_run(run.out))
    assert source.dataset.classes.names == ("disc", "square")
    export_labels("voc", source, tmp_path / "voc")
    for item in run.scored_dataset.items:
        exported = read_label_png(tmp_path / "voc" / "SegmentationClass" / f"{item.id}.png")
        np.testing.assert_array_equal(exported, run.scored_dataset.mask(item))
    export_labels("fma-wsss", source, tmp_path / "fma")
    for item in run.scored_dataset.items:
        np.testing.assert_array_equal(
            read_label_png(tmp_path / "fma" / "seeds" / f"{item.id}.png"), run.scored_dataset.mask(item)
        )


def test_label_maps_need_no_photo(run: Context, tmp_path: Path) -> None:
    for item in run.dataset.items:
        item.photo.unlink()
    assert export_labels("coco", source_of_run(run), tmp_path / "out").photos == 3
    with pytest.raises(UserError, match="no such file"):
        export_labels("gallery", source_of_run(run), tmp_path / "gallery")


def test_the_threshold_is_that_of_the_label_maps(run: Context) -> None:
    assert source_of_run(run).threshold == run.recipe.labels.threshold
    described = {"step": "labels", "version": 1, "fingerprint": "f", "reads": {}, "seconds": 1}
    finish(run.folder("labels"), described, {"threshold": 0.33})
    assert source_of_run(run).threshold == 0.33


def test_other_folders(run: Context, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"empty/p00\.png: no such label map"):
        export_labels("voc", source_of_run(run, labels=empty), tmp_path / "out")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        source_of_run(run, cams=tmp_path / "nowhere")


def test_a_run_without_photos(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not listed yet"):
        source_of_run(Context(Recipe(), Source(tmp_path), tmp_path / "run"))


def test_predictions_are_exported(run: Context, tmp_path: Path) -> None:
    photos = {item.id: item.photo for item in run.dataset.items}
    source = source_of_photos(photos, run.folder("labels"), classes=ClassList(("disc", "square")), name="new")
    export_labels("yolo", source, tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out/images/train").iterdir()} == set(photos)
    with pytest.raises(UserError, match="folder with CAMs"):
        export_labels("fma-wsss", source, tmp_path / "fma")


def test_no_torch_is_loaded() -> None:
    code = "import sys; from semples.export import EXPORTERS, about; [about(name) for name in EXPORTERS]; "
    code += "import semples.run.steps.data; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
