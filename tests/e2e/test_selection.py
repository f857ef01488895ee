"""Threshold and estimate through the command line, in a folder that holds no mask at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from semples.recipe import LabelSettings
from tests import tiny
from tests.e2e.conftest import Material


@pytest.fixture(scope="module")
def unlabelled(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of photos and tags alone."""
    folder = tmp_path_factory.mktemp("unlabelled")
    photos = shutil.copytree(material.photos, folder / "photos")
    shutil.rmtree(photos / "masks")
    quick = [f"--set={stage}.epochs=0" for stage in ("matching", "prompting", "refinement")]
    out = tiny.invoke("run", material.recipe, "--data", photos, "--out", folder / "run", *quick).out
    assert "estimated mIoU of the label maps" in out
    assert "no mask was looked at" in out
    return folder / "run"


def chosen(run: Path) -> dict[str, Any]:
    return json.loads((run / "selection/selection.json").read_text(encoding="utf-8"))


def labels_threshold(run: Path) -> float:
    return json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))["result"]["threshold"]


def test_label_maps_are_made_at_the_chosen_threshold(unlabelled: Path) -> None:
    selection = chosen(unlabelled)
    assert "no pixel mask was looked at" in selection["used"]
    assert selection["curves"]["threshold"][0] <= selection["threshold"] <= selection["curves"]["threshold"][-1]
    assert set(selection["per_class"]) == {"disc", "square"}
    assert labels_threshold(unlabelled) == selection["threshold"] != LabelSettings().threshold
    assert 0 <= selection["quality"]["miou"] <= 100
    assert "an estimate" in selection["quality"]["about"]
    assert "estimated mIoU" in tiny.invoke("status", unlabelled).out


def test_other_choices(unlabelled: Path, tmp_path: Path) -> None:
    run = shutil.copytree(unlabelled, tmp_path / "run")
    assert f"next: semples report {run}" in tiny.invoke("label", run, "--select", "fixed").out
    assert labels_threshold(run) == LabelSettings().threshold
    tiny.invoke("label", run, "--select", "auto")
    assert labels_threshold(run) == chosen(run)["threshold"]
    line = tiny.refused("label", run, "--select", "ground-truth")
    assert "needs masks" in line
    assert "leave --select auto out" in tiny.refused("label", run, "--threshold", "0.3", "--select", "auto")
    tiny.invoke("label", run, "--set=labels.per_class=true")
    result = json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))["result"]
    assert result["thresholds"] == list(chosen(run)["per_class"].values())
    tiny.invoke("label", run, "--set=labels.per_class=false")
    assert "thresholds" not in json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))["result"]
    tiny.invoke("label", run, "--threshold", "0.3", "--class-threshold=square=0.6")
    assert json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))["result"]["thresholds"] == [0.3, 0.6]
    tiny.invoke("label", run, "--threshold", "0.3")
    assert "thresholds" not in json.loads((run / "labels/manifest.json").read_text(encoding="utf-8"))["result"]
    assert "give --threshold" in tiny.refused("label", run, "--class-threshold", "square=0.6")
    tiny.invoke("label", run, "--select", "auto", "--method", "crf", "--set=selection.photos=3")
    assert chosen(run)["method"] == "crf"
    assert chosen(run)["photos"] == 3


def test_a_choice_that_was_cut_ends_the_same(unlabelled: Path, tmp_path: Path) -> None:
    """Of a step that was killed some photos' files are there; they stay, and the answer is equal to the bit."""
    run = shutil.copytree(unlabelled, tmp_path / "run")
    whole = tiny.results_of(run)
    signs = sorted((run / "selection/signs").glob("*.json"))
    assert len(signs) > 4
    for path in [*signs[3:], run / "selection/selection.json", run / "selection/manifest.json"]:
        path.unlink()
    (run / "selection/signs/.half.x.tmp.json").write_text("{", encoding="utf-8")
    stamps = {path: path.stat().st_mtime_ns for path in signs[:3]}
    err = tiny.invoke("label", run).err
    assert "selection: resuming" in err
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert tiny.results_of(run) == whole


def test_photos_without_any_tag(tmp_path: Path, material: Material) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=3)
    (photos / "tags.csv").write_text("image,tags\np00.png,\np01.png,\np02.png,\n", encoding="utf-8")
    quick = [f"--set={stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
    tiny.invoke("run", material.recipe, "--data", photos, "--out", tmp_path / "run", *quick)
    assert "no tagged photo" in chosen(tmp_path / "run")["note"]
    assert "estimated" not in tiny.invoke("status", tmp_path / "run").out
