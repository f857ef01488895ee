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
    changes += [f"segmenter.model=scratch:{network}", "segmenter.image_size=32", "segmenter.photo_size=40"]
    changes += ["segmenter.iterations=4", "segmenter.batch=4", "labels.method=threshold"]
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


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=2)
    context = Context(load_recipe("folder"), Source(photos), tmp_path / "bare")
    write_run(context)
    assert "no segmenter here" in tiny.refused("relabel", tmp_path / "bare")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    assert "not made by this command" in tiny.refused("relabel", run, "--out", tmp_path / "full")
