"""Scoring a model: the label maps that `semples predict` writes, and no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import semples
from semples.core.errors import UserError
from semples.core.palette import read_label_png
from semples.core.schema import to_dict
from semples.data.dataset import open_dataset
from semples.evaluation.boundary import BoundaryAccumulator
from semples.evaluation.confusion import confusion_matrix
from semples.prediction.evaluate import evaluate, scored_photos
from semples.recipe import load_recipe
from semples.segmenter.package import write_package
from tests import tiny
from tests.prediction import material

WAYS = {
    "own": [],
    "scales": ["--scales", "0.5,1.0", "--mirror"],
    "window": ["--window", "32", "--stride", "32"],
    "crf": ["--crf", "--batch", "3"],
}


@pytest.mark.parametrize("way", WAYS)
def test_figures_are_those_of_predicted_files(
    way: str, packages: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    model = packages["semples_vit"]
    tiny.invoke("segment", "eval", model, "--data", photos, "--json", tmp_path / "eval.json", *WAYS[way])
    figures = json.loads((tmp_path / "eval.json").read_text(encoding="utf-8"))
    # The data's photos without their masks, so that nothing else can be looked at.
    alone = tmp_path / "photos"
    alone.mkdir()
    for path in photos.glob("*.png"):
        shutil.copy(path, alone)
    tiny.invoke("predict", model, alone, "--out", tmp_path / "out", *WAYS[way])
    confusion, boundary = np.zeros((3, 4), np.int64), BoundaryAccumulator(2)
    for path in sorted((photos / "masks").glob("*.png")):
        pair = read_label_png(path), read_label_png(tmp_path / "out" / "labels" / path.name)
        confusion += confusion_matrix(*pair, num_classes=2)
        boundary.add(*pair)
    assert figures["photos"] == 10
    assert figures["confusion"] == confusion.tolist()
    assert [row["boundary_iou"] for row in figures["classes"]] == pytest.approx(boundary.result().tolist())


def test_the_risk_coverage_table_is_a_plain_count(packages: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    """For every least confidence the share of pixels that stay labelled, and the share of these that are wrong."""
    said = tiny.invoke("segment", "eval", packages["semples_vit"], "--data", photos, "--json", tmp_path / "eval.json")
    rows = json.loads((tmp_path / "eval.json").read_text(encoding="utf-8"))["risk_coverage"]
    assert "sure pixels alone" in said.out
    model, sure, wrong = semples.load(packages["semples_vit"], confidence=True), [], []
    for path in sorted((photos / "masks").glob("*.png")):
        truth, answer = read_label_png(path), model.segment(photos / path.name)
        assert answer.confidence is not None
        known = truth != 255
        sure.append(answer.confidence[known])
        wrong.append((answer.labels != truth)[known])
    confidence, mistakes = np.concatenate(sure), np.concatenate(wrong)
    assert [row["min_confidence"] for row in rows] == pytest.approx(np.arange(10) / 10)
    for row in rows:
        kept = confidence >= row["min_confidence"] - 1e-6
        assert row["coverage"] == pytest.approx(kept.mean(), abs=1e-3)
        assert row["risk"] is None or row["risk"] == pytest.approx(mistakes[kept].mean(), abs=5e-3)
    assert rows[0]["coverage"] == 1
    assert rows[-1]["coverage"] < 1


def test_a_segmenters_recipe_says_how_it_segments(photos: Path, tmp_path: Path) -> None:
    chosen = ["segmenter.predict.scales=[0.5,1.5]", "segmenter.predict.mirror=true", "segmenter.predict.crf=true"]
    folder = tmp_path / "own"
    segmenter = material.segmenter(tmp_path / "config")
    write_package(segmenter, folder, recipe=to_dict(load_recipe("folder", chosen)), card=material.CARD)
    dataset = open_dataset(photos)
    by_recipe = evaluate(semples.load(folder), dataset).confusion
    said = evaluate(semples.load(folder, scales=[0.5, 1.5], mirror=True, crf=True), dataset).confusion
    plain = evaluate(semples.load(folder, scales=[1.0], mirror=False, crf=False), dataset).confusion
    np.testing.assert_array_equal(by_recipe, said)
    assert (by_recipe != plain).any()


def test_problems_are_told_and_the_rest_is_scored(packages: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    data = shutil.copytree(photos, tmp_path / "data")
    (data / "p00.png").write_bytes((data / "p00.png").read_bytes()[:100])
    (data / "masks" / "p01.png").write_bytes(b"no picture")
    evaluation = evaluate(semples.load(packages["semples_vit"]), open_dataset(data))
    assert evaluation.photos == 8
    assert ["p00.png" in line for line in evaluation.unusable] == [True, False]
    assert ["p01.png" in line for line in evaluation.unusable] == [False, True]


def test_a_run_without_a_segmenter_is_refused(run: Path, photos: Path) -> None:
    with pytest.raises(UserError, match="no trained segmenter to score"):
        evaluate(semples.load(run), open_dataset(photos))


def test_val_is_scored_where_there_is_one(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    assert len(scored_photos(data).items) == 10
    (data / "train.txt").write_text("p00.png\n", encoding="utf-8")
    (data / "val.txt").write_text("p01.png\np02.png\n", encoding="utf-8")
    assert [item.id for item in scored_photos(data).items] == ["p01", "p02"]
    assert [item.id for item in scored_photos(data, split="train").items] == ["p00"]
    (data / "val.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="no usable photo"):  # an empty list is not passed over
        scored_photos(data)
