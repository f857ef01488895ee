"""`semples predict` with what it cannot use: one line each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from semples.core.files import write_json
from semples.prediction import job
from tests import tiny
from tests.prediction.test_predict import draw


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["{model}", "--out", "{out}"], "no photo to predict"),
        (["{model}", "{photos}/none.jpg", "--out", "{out}"], "no such file or folder"),
        (["{photos}", "{photos}", "--out", "{out}"], "neither a segmenter"),
        (["{photos}/none", "{photos}", "--out", "{out}"], "no such folder"),
        (["{photos}/tags.csv", "{photos}", "--out", "{out}"], "not a folder"),
        (["{model}", "{photos}/p00.png", "--out", "{photos}/masks"], "holds something else"),
        (["{model}", "{photos}", "--out", "{photos}"], "no photo to predict"),
        (["{model}", "{photos}", "--out", "{photos}/tags.csv"], "cannot be written"),
        (["{model}", "{photos}", "--out", "{out}", "--tags", "dog"], "'dog' is not a class of this model"),
        (["{model}", "{photos}", "--out", "{out}", "--tags", "dog.csv"], "no such file"),
        (["{model}", "{photos}", "--out", "{out}", "--window", "4"], "out of range"),
        (["{model}", "{photos}", "--out", "{out}", "--scales", "big"], "parted by commas"),
        (["{run}", "{photos}", "--out", "{out}"], "needs to know each photo's tags; give --tags"),
        (["{run}", "{photos}", "--out", "{out}", "--window", "64", "--tags", "disc"], "leave --window out"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], hint: str, packages: dict[str, Path], photos: Path, run: Path, tmp_path: Path
) -> None:
    places = {"model": packages["semples_vit"], "photos": photos, "run": run, "out": tmp_path / "out"}
    assert hint in tiny.refused("predict", *[word.format(**places) for word in arguments])


def test_another_models_folder_is_refused(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos", ((32, 32),))
    tiny.invoke("predict", packages["semples_vit"], folder, "--out", tmp_path / "out")
    assert "another model or other settings" in tiny.refused(
        "predict", packages["segformer"], folder, "--out", tmp_path / "out"
    )
    assert "another model or other settings" in tiny.refused(
        "predict", packages["semples_vit"], folder, "--out", tmp_path / "out", "--mirror"
    )


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ("weights", "model.safetensors is missing; copy the whole folder"),
        ("pickle", "pytorch_model.bin is not read: such a file may hold a program"),
        ("classes", "has 3 labels, but segmenter.json names 3 classes"),
        ("other weights", "weights do not fit"),
        ("config", "config.json"),
        ("cut", "cannot be read"),
        ("json", "not valid JSON"),
    ],
)
def test_a_damaged_package_is_one_line(change: str, hint: str, packages: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(packages["segformer"], folder)
    weights = folder / "model.safetensors"
    if change in ("weights", "pickle"):
        weights.unlink()
    if change == "pickle":
        (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    if change == "classes":
        described = json.loads((folder / "segmenter.json").read_text(encoding="utf-8"))
        write_json(folder / "segmenter.json", described | {"classes": ["disc", "square", "dog"]})
    if change == "other weights":
        shutil.copy(packages["semples_vit"] / "model.safetensors", weights)
    if change == "config":
        (folder / "config.json").unlink()
    if change == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    if change == "json":
        (folder / "segmenter.json").write_text("{", encoding="utf-8")
    draw(tmp_path / "photos", ((32, 32),))
    line = tiny.refused("predict", folder, tmp_path / "photos", "--out", tmp_path / "out")
    assert hint in line
    assert not (tmp_path / "out").exists()


def test_areas_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "ROWS", 7)
    labels = np.random.default_rng(0).integers(0, 5, (13, 11)).astype(np.uint8)
    assert job.count_labels(labels, 6) == np.bincount(labels.ravel(), minlength=6).tolist()
