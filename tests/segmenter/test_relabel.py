"""`semples relabel`: a run's photos by its own segmenter, held to their tags."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.data.dataset import open_dataset
from semples.prediction import load
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.folder import write_run
from tests import tiny
from tests.segmenter import material

CHANGES = [
    "segmenter.image_size=32",
    "segmenter.photo_size=40",
    "segmenter.iterations=4",
    "segmenter.batch=4",
    "labels.method=threshold",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("relabel")
    photos = tiny.draw_photos(home / "photos", count=8)
    for path in sorted(photos.glob("p*.png")):
        mask = tiny.pixels(photos / "masks" / path.name)
        maps = {k: (mask == k + 1).astype(np.float32) for k in (0, 1) if (mask == k + 1).any()}
        CamStore(home / "given").write(path.stem, maps, mask.shape)
    changes = ["generator.kind=saved", f"generator.start={home / 'given'}", "labels.select=fixed", "data.workers=0"]
    network = material.folder(home / "network", "semples_vit")
    changes += [f"segmenter.model=scratch:{network}", *CHANGES]
    context = Context(load_recipe("folder", changes), Source(photos), home / "run")
    write_run(context)
    pipeline.run(context, steps=["data", "cams", "curve", "labels", "segmenter"])
    return home / "run"


def test_maps_are_the_segmenters_within_the_tags(run: Path, tmp_path: Path) -> None:
    out = tiny.invoke("relabel", run, "--json", tmp_path / "s.json").out
    assert "by the segmenter" in out
    model = load(run, workers=0, confidence=True)
    dataset = open_dataset(run.parent / "photos")
    for item in dataset.items:
        labels = tiny.pixels(run / "relabelled" / f"{item.id}.png")
        assert set(np.unique(labels)) <= {0, *(tag + 1 for tag in item.tags)}
        tags = [dataset.classes.names[tag] for tag in item.tags]
        wanted = model.segment(dataset.photo(item), tags=tags)
        np.testing.assert_array_equal(labels, wanted.labels)
        sure = tiny.pixels(run / "relabelled" / "confidence" / f"{item.id}.png")
        assert wanted.confidence is not None
        np.testing.assert_allclose(sure / 255, wanted.confidence, atol=1 / 255)
    stored = json.loads((run / "relabelled" / "scores.json").read_text(encoding="utf-8"))["labels"]["miou"]
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["labels"]["miou"] == stored
    kept = next((run / "relabelled").glob("p*.png")).stat().st_mtime_ns
    tiny.invoke("relabel", run)
    assert next((run / "relabelled").glob("p*.png")).stat().st_mtime_ns == kept
    combined = tiny.invoke("combine", run, "labels", "relabelled").out
    assert "combined of 2 folders" in combined


def test_a_segmenter_learns_from_other_label_maps_of_a_runs_photos(run: Path, tmp_path: Path) -> None:
    """Of the run's own photos and classes, by its own recipe, the same as by its photos as a folder."""
    tiny.invoke("relabel", run)
    first = (run / "segmenter" / "model" / "model.safetensors").read_bytes()
    command = ["segment", "train", run, "--labels", "relabelled", "--out", tmp_path / "second"]
    assert "learned from 8 photos" in tiny.invoke(*command).out
    second = tmp_path / "second" / "segmenter" / "model" / "model.safetensors"
    assert second.read_bytes() != first == (run / "segmenter" / "model" / "model.safetensors").read_bytes()
    assert "up to date" in tiny.invoke(*command).err
    changes = [f"--set={entry}" for entry in CHANGES if entry.startswith("segmenter.")]
    changes += [f"--set=segmenter.model=scratch:{run.parent / 'network'}", "--set=data.workers=0"]
    folders = ["--photos", run.parent / "photos", "--labels", run / "relabelled", "--out", tmp_path / "folders"]
    tiny.invoke("segment", "train", *folders, *changes)
    assert (tmp_path / "folders" / "segmenter" / "model" / "model.safetensors").read_bytes() == second.read_bytes()
    for photo in sorted((run / "relabelled").glob("p*.png"))[:3]:
        photo.unlink()
    assert "learned from 5 photos; 3 without a label map" in tiny.invoke(*command).out
    tiny.invoke("relabel", run)
    (tmp_path / "empty").mkdir()
    said = tiny.refused("segment", "train", run, "--labels", tmp_path / "empty", "--out", tmp_path / "none")
    assert "no label map NAME.png for any photo NAME of photos; it has 8 photos, p" in said
    said = tiny.refused("segment", "train", run, "--labels", "nowhere", "--out", tmp_path / "none")
    assert "no such folder of label maps" in said


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=2)
    context = Context(load_recipe("folder"), Source(photos), tmp_path / "bare")
    write_run(context)
    assert "no segmenter here" in tiny.refused("relabel", tmp_path / "bare")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    assert "not made by this command" in tiny.refused("relabel", run, "--out", tmp_path / "full")
