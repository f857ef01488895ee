"""Which epoch of refinement is kept: by its loss on whole photos, by masks, and what a cut leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from semples.run.epochs import best_epoch
from tests import tiny
from tests.e2e.conftest import Material


@pytest.fixture(scope="module")
def prepared(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to the stage before refinement."""
    out = tmp_path_factory.mktemp("epochs") / "run"
    quick = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting")]
    tiny.invoke("run", material.recipe, "--data", material.photos, "--out", out, "--until", "prompting", *quick)
    return out


def refine(run: Path, select: str) -> dict[str, Any]:
    tiny.invoke("train", "refinement", "--out", run, f"--set=refinement.select_epoch={select}")
    return json.loads((run / "refinement/manifest.json").read_text(encoding="utf-8"))["result"]


def test_the_best_epoch_is_kept(prepared: Path, tmp_path: Path) -> None:
    run = shutil.copytree(prepared, tmp_path / "run")
    last = refine(run, "last")
    assert "kept_epoch" not in last
    assert not (run / "refinement/epochs").exists()
    final = load_file(run / "refinement/generator.safetensors")
    for select in ("auto", "ground-truth"):
        result = refine(run, select)
        stored = json.loads((run / "refinement/epochs.json").read_text(encoding="utf-8"))
        scores = {int(epoch): score for epoch, score in stored["scores"].items()}
        assert set(scores) == {1, 2, 3}
        assert result["select_epoch"] == stored["select"] == select
        assert result["kept_epoch"] == best_epoch([scores[epoch] for epoch in sorted(scores)])
        kept = load_file(run / f"refinement/epochs/epoch-{result['kept_epoch']:04d}.safetensors")
        saved = load_file(run / "refinement/generator.safetensors")
        assert all(name.startswith(("head.", "adaptive_attention_fusion.")) for name in kept)
        assert all(torch.equal(saved[name], value) for name, value in kept.items())
        third = load_file(run / "refinement/epochs/epoch-0003.safetensors")
        assert all(torch.equal(final[name], value) for name, value in third.items())


def test_a_cut_between_training_and_choice_ends_the_same(prepared: Path, tmp_path: Path) -> None:
    run = shutil.copytree(prepared, tmp_path / "run")
    refine(run, "auto")
    whole = tiny.results_of(run)
    for name in ("manifest.json", "generator.safetensors"):
        (run / "refinement" / name).unlink()
    stored = json.loads((run / "refinement/epochs.json").read_text(encoding="utf-8"))
    del stored["scores"]["3"]
    (run / "refinement/epochs.json").write_text(json.dumps(stored), encoding="utf-8")
    stamp = (run / "refinement/epochs/epoch-0003.safetensors").stat().st_mtime_ns
    refine(run, "auto")
    assert (run / "refinement/epochs/epoch-0003.safetensors").stat().st_mtime_ns == stamp  # not trained again
    assert tiny.results_of(run) == whole


def test_refusals(prepared: Path, material: Material, tmp_path: Path) -> None:
    run = shutil.copytree(prepared, tmp_path / "run")
    for stage in ("warmup", "prompting"):
        line = tiny.refused("train", stage, "--out", run, f"--set={stage}.select_epoch=auto")
        assert f"unknown setting {stage}.select_epoch" in line
    photos = shutil.copytree(material.photos, tmp_path / "photos")
    shutil.rmtree(photos / "masks")
    command = ("run", material.recipe, "--data", photos, "--out", tmp_path / "new")
    assert "needs masks" in tiny.refused(*command, "--set=refinement.select_epoch=ground-truth")
    assert not (tmp_path / "new/warmup").exists()


def test_of_epochs_that_differ_in_rounding_only_the_last_is_kept() -> None:
    assert best_epoch([-3.38669, -3.38668, -3.38669]) == 3
    assert best_epoch([50.0, 52.0, 51.9]) == 2
    assert best_epoch([0.0, -1.0]) == 1
