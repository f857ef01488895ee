"""A label method of another module in a run: told of all photos first, with features; what it reads is recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semples.core.palette import read_label_png
from semples.core.schema import merge
from semples.labels.base import LabelInput, LabelMethod
from semples.labels.scored import Scored, Thresholds, label_values
from semples.run import pipeline
from semples.run.context import Context
from tests import tiny, vision_models

NAME = f"{__name__}:Likest"


class Likest(LabelMethod):
    """The tagged classes where a photo's features are like the mean of all photos, by columns; else background."""

    name = "likest"
    needs = frozenset({"features"})

    def fit(self, photos: Iterable[LabelInput], *, thresholds: Thresholds | None = None) -> None:
        self.seen = [photo.id for photo in photos if photo.features().ndim == 3]

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        if not photo.cams:
            return Scored.background(photo.size)
        part = np.zeros(photo.features().shape[:2], np.float32)
        part[: len(self.seen) // 2] = 1  # says in the labels how many photos were learned from
        values = label_values(photo.cams)
        scores = np.stack([1 - part, part, *(part * 0 for _ in values[2:])])
        return Scored(values, scores, values[scores.argmax(0)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run whose stages train nothing."""
    folder = tmp_path_factory.mktemp("learned")
    photos = tiny.draw_photos(folder / "photos", count=6)
    recipe = tiny.write_recipe(folder / "recipe.yaml", tiny.save_clip(folder / "clip"))
    features = vision_models.save(folder / "vit", "vit")
    settings = [f"{stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
    settings += [f"labels.method={NAME}", "labels.select=fixed", f"features.model={features}", "features.side=64"]
    changes = [f"--set={entry}" for entry in settings]
    tiny.invoke("run", recipe, "--data", photos, "--out", folder / "run", "--until", "labels", *changes)
    return pipeline.open_run(folder / "run")


def with_setting(context: Context, group: str, key: str, value: object) -> Context:
    recipe = merge(context.recipe, {group: {key: value}}, where="test")
    return replace(context, recipe=recipe)


def stale(context: Context) -> set[str]:
    return {entry.step for entry in pipeline.status(context) if entry.state == "outdated"}


def test_it_learns_from_all_photos_and_looks_at_features(run: Context) -> None:
    for item in run.dataset.items:
        labels = read_label_png(run.folder("labels") / f"{item.id}.png")
        if not item.tags:
            assert not labels.any()
            continue
        height = labels.shape[0]
        patches = max(1, round(8 * height / max(labels.shape)))
        upper = labels[: int(height * min(1, 3 / patches)) - 1]  # three of six photos, so three rows of patches
        assert (upper == item.tags[0] + 1).all()
        assert patches <= 3 or not labels[-1].any()


def test_what_it_reads_is_recorded(run: Context) -> None:
    assert "labels" not in stale(run)
    assert "labels" in stale(with_setting(run, "features", "side", 96))
    assert "labels" not in stale(with_setting(run, "regions", "background", 0.5))
    config = run.out.parent / "vit" / "config.json"
    kept = config.read_text(encoding="utf-8")
    config.write_text(kept + "\n", encoding="utf-8")
    assert "labels" in stale(run)
    config.write_text(kept, encoding="utf-8")
    assert "labels" not in stale(run)


def test_new_photos_come_without_what_it_learned(run: Context, tmp_path: Path) -> None:
    photo = run.source.root / "p00.png"
    line = tiny.refused("predict", run.out, photo, "--out", tmp_path / "new", "--tags", "disc")
    assert "learns from a run's photos" in line
