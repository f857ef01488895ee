"""The steps by themselves: shared work, where thresholds come from, words near a prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.files import write_json
from semples.core.palette import read_label_png
from semples.data.dataset import Item
from semples.data.photos import reduced
from semples.inspect import words as prompts
from semples.labels.make import calibration_of, make_label_method
from semples.labels.regions import Regions
from semples.recipe import CamSettings, LabelSettings, Recipe
from semples.run import photos, pipeline, threshold
from semples.run.context import Context, Source
from semples.run.label_maps import Inputs, write_labels
from semples.run.records import finish
from semples.run.steps import cams, selection
from semples.run.work import Work
from tests import tiny
from tests.training import toy

RECIPE = replace(Recipe(), generator=toy.GENERATOR, cams=CamSettings(batch=2))


class Shared(Context):
    """One of several processes that share a run."""

    place, count = 0, 1

    @property
    def rank(self) -> int:
        return self.place

    @property
    def processes(self) -> int:
        return self.count


@pytest.fixture
def context(tmp_path: Path) -> Context:
    drawn = tiny.draw_photos(tmp_path / "photos", count=7)
    made = Context(RECIPE, Source(drawn), tmp_path / "out")
    pipeline.run(made, steps=["data"])
    return made


def work_in(context: Context, folder: Path) -> Work:
    return Work(context, "cams", folder, needs=("data", "selection", "curve"))


def write_cams(context: Context, folder: Path) -> CamStore:
    cams.write_cams(work_in(context, folder), toy.generator(2))
    return CamStore(folder)


def test_processes_share_the_cams_of_all_photos(context: Context, tmp_path: Path) -> None:
    """Whatever the number of processes and the batch, the files have the same bytes; what is there is kept."""
    whole = write_cams(context, tmp_path / "whole")
    for place in (1, 0, 2):
        part = Shared(replace(RECIPE, cams=CamSettings(batch=1)), context.source, context.out)
        part.place, part.count = place, 3  # type: ignore[misc]
        assert part.is_main == (place == 0)
        parts = write_cams(part, tmp_path / "parts")
        assert len(parts.ids()) < 7 or place == 2
    assert whole.ids() == parts.ids() == [f"p0{i}" for i in range(7)]
    for name in whole.ids():
        assert (tmp_path / f"whole/{name}.npz").read_bytes() == (tmp_path / f"parts/{name}.npz").read_bytes()
    (tmp_path / "whole/p03.npz").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()}
    write_cams(context, tmp_path / "whole")
    assert whole.has("p03")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert cams._partial(context, context.folder("cams")) is None


def no_regions(item: Item) -> Regions:
    raise AssertionError("this method needs no regions")


def no_features(item: Item) -> np.ndarray:
    raise AssertionError("this method needs no features")


def test_labels_at_a_threshold(context: Context, tmp_path: Path) -> None:
    store = write_cams(context, tmp_path / "cams")
    sizes = photos.photo_sizes(context.folder("data"))
    method = make_label_method(RECIPE.labels, regions=RECIPE.regions, crf=RECIPE.crf, num_classes=2)
    for limit in (0.0, 0.45, 1.0):
        write_labels(
            context.dataset.items,
            Inputs(context.dataset, store, no_regions, no_features),
            tmp_path / "labels",
            method=method,
            thresholds=limit,
            size=lambda item: sizes[item.id],
        )
        for item in context.dataset.items:
            labels, maps = read_label_png(tmp_path / f"labels/{item.id}.png"), store.read(item.id)
            stack = np.stack([np.full(labels.shape, np.float32(limit)), *maps.values()])
            values = np.array([0, *(label + 1 for label in maps)])
            np.testing.assert_array_equal(labels, values[stack.argmax(0)])


def test_thresholds(context: Context) -> None:
    def chosen(**settings: Any) -> threshold.Chosen:
        recipe = replace(RECIPE, labels=LabelSettings(**settings))
        return threshold.chosen_threshold(work_in(Context(recipe, context.source, context.out), context.out))

    def made(step: str, name: str, value: dict[str, Any]) -> None:
        write_json(context.folder(step) / name, value)
        described = {"step": step, "version": 1, "fingerprint": step, "reads": {}, "seconds": 1}
        finish(context.folder(step), described, {})

    assert chosen(select="fixed", threshold=0.3) == threshold.Chosen(0.3)
    for select in ("ground-truth", "auto"):
        with pytest.raises(UserError, match="which is not finished"):
            chosen(select=select)
    made("curve", "curve.json", {"best": {"threshold": 0.41}})
    assert chosen(select="ground-truth") == threshold.Chosen(0.41)
    (context.folder("curve") / "curve.json").unlink()  # as of a run without masks
    with pytest.raises(UserError, match="needs masks"):
        chosen(select="ground-truth")
    made("selection", "selection.json", {"threshold": 0.35, "per_class": {"a": 0.3, "b": 0.4}})
    assert chosen() == threshold.Chosen(0.35)
    per_class = chosen(per_class=True)
    assert per_class.threshold == 0.35
    np.testing.assert_array_equal(per_class.applied, np.array([0.3, 0.4], np.float32))
    by_hand = chosen(select="fixed", threshold=0.3, class_thresholds=(0.2, 0.9))
    assert by_hand.threshold == 0.3
    np.testing.assert_array_equal(by_hand.applied, np.array([0.2, 0.9], np.float32))


def test_thresholds_by_the_names_of_classes() -> None:
    names = ("dog", "a=b", "-x")
    assert threshold.thresholds_of_classes(["a=b=0.25", "-x=1"], names, other=0.5) == [0.5, 0.25, 1.0]
    for text in ("cat=0.3", "dog", "dog=", "dog=1.1", "dog=nan", "=0.3"):
        with pytest.raises(UserError, match="--class-threshold"):
            threshold.thresholds_of_classes([text], names, other=0.5)


def test_large_photos_are_reduced() -> None:
    photo = np.zeros((30, 90, 3), np.uint8)
    assert reduced(photo, max_side=90) is photo
    assert reduced(photo, max_side=45).shape == (15, 45, 3)
    assert reduced(np.zeros((1, 900, 3), np.uint8), max_side=9).shape == (1, 9, 3)


def test_digests_follow_content_not_names(tmp_path: Path) -> None:
    file, memory = tmp_path / "a", tmp_path / "seen.json"
    file.write_bytes(b"1")
    digests = photos.Digests(memory, save=True)
    first = digests.of(file)
    digests.close()
    assert photos.Digests(memory, save=True).of(file) == first
    file.write_bytes(b"22")
    assert photos.Digests(memory, save=True).of(file) != first
    assert photos.Digests(memory, save=True).of(tmp_path / "none").startswith("unreadable")
    memory.write_text("{broken", encoding="utf-8")
    file.write_bytes(b"1")
    assert photos.Digests(memory, save=True).of(file) == first


def test_word_lists(tmp_path: Path) -> None:
    shipped = prompts.read_words(None)
    assert len(shipped) > 100
    assert len(set(shipped)) == len(shipped)
    (tmp_path / "w").write_bytes("\ufeff# note\r\nriver\r\n\r\n sky \r\nriver\r\n".encode())
    assert prompts.read_words(tmp_path / "w") == ["river", "sky"]
    (tmp_path / "w").write_text("# only notes\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no word"):
        prompts.read_words(tmp_path / "w")
    (tmp_path / "w").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        prompts.read_words(tmp_path / "w")


def test_a_threshold_at_which_every_mask_is_empty_is_no_sign() -> None:
    calibration = calibration_of("crf")
    grid = calibration.grid
    count = len(grid.tried)
    row = {"classes": [0], "steadiness": [[0.5] * (count - 3) + [None] * 3], "recognition": [[0.4] * count]}
    described = selection.describe([row], calibration, names=("a", "b"), method="crf", otherwise=None)
    assert described["curves"]["steadiness"][-4:] == [0.5, None, None, None]
    assert described["threshold"] < grid.tried[-3]
    assert json.loads(json.dumps(described, allow_nan=False))["quality"]["miou"] is not None
    empty = [row | {"steadiness": [[None] * count]}]
    nothing = selection.describe(empty, calibration, names=("a", "b"), method="crf", otherwise=None)
    assert json.loads(json.dumps(nothing, allow_nan=False))["quality"]["miou"] is None
