"""The folder changes after a run: what that makes outdated is said, and no work is thrown away without a word."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from semples.core.errors import UserError
from semples.run import graph
from semples.training.checkpoint import load_progress
from tests import tiny
from tests.e2e.conftest import Material

CAREFUL = "--set=run.careful_minutes=0"


@pytest.fixture
def changed(material: Material, finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A finished run, and its photos after one was added, one removed and one tagged otherwise."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    photos = Path(shutil.copytree(material.photos, tmp_path / "photos"))
    lines = (photos / "tags.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("p00.png,")
    assert lines[3].startswith("p02.png,")
    lines[1] = "p00.png," + ("disc" if lines[1] != "p00.png,disc" else "square")
    (photos / "p02.png").unlink()
    del lines[3]
    Image.new("RGB", (40, 36), (200, 90, 60)).save(photos / "new.png")
    (photos / "tags.csv").write_text("\n".join([*lines, "new.png,square"]) + "\n", encoding="utf-8")
    return run, photos


def manifests(run: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in run.glob("*/manifest.json")}


def test_status_says_what_has_changed(changed: tuple[Path, Path], material: Material) -> None:
    run, photos = changed
    stored = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(stored | {"data": str(photos)}), encoding="utf-8")
    out = tiny.semples("status", run).stdout
    assert "the photos have changed (1 added, 1 removed, 1 with other tags)" in out
    assert "and with that: warmup" in out
    assert "--update goes on from their weights" in out


def test_nothing_is_lost_without_a_word(changed: tuple[Path, Path], material: Material) -> None:
    run, photos = changed
    before = manifests(run)
    command = ("run", material.recipe, "--data", photos, "--out", run)
    result = tiny.semples(*command, CAREFUL, check=False)
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("semples: ")]
    assert "the photos have changed (1 added, 1 removed, 1 with other tags)" in line
    assert "warmup, matching, prompting, refinement" in line
    assert "--update" in line
    assert "--from data" in line
    assert manifests(run) == before
    assert "leave one out" in tiny.refused(*command, "--update", "--from", "warmup")
    result = tiny.semples(*command, CAREFUL, "--update")
    assert "warmup: going on from the weights that it left before" in result.stderr
    for stage in ("warmup", "matching", "prompting", "refinement"):
        told = json.loads((run / stage / "manifest.json").read_text(encoding="utf-8"))["result"]
        assert (told["updated"], told["epochs"]) == (True, 1)
        assert not (run / stage / "before").exists()
        assert (
            json.loads((run / stage / "manifest.json").read_text(encoding="utf-8"))["fingerprint"]
            not in before[stage].decode()
        )
    assert {path.stem for path in (run / "labels").glob("*.png")} == {
        "new", "p00", *(f"p{number:02d}" for number in range(3, 10)), "p01"
    }  # fmt: skip
    again = tiny.semples(*command, CAREFUL)
    assert again.stderr.count("up to date") == len(manifests(run))


def test_weights_of_other_classes_are_no_start(changed: tuple[Path, Path], material: Material) -> None:
    run, photos = changed
    (photos / "classes.txt").write_text("disc\nsquare\nring\n", encoding="utf-8")
    before = manifests(run)
    line = tiny.refused("run", material.recipe, "--data", photos, "--out", run, "--update")
    assert "other classes" in line
    assert "--from data" in line
    assert manifests(run) == before


def test_small_work_is_made_anew_and_said(changed: tuple[Path, Path], material: Material) -> None:
    run, photos = changed
    result = tiny.invoke("run", material.recipe, "--data", photos, "--out", run, "--until", "data")
    assert "made anew, since the photos have changed" in result.err


def test_an_interrupted_stage_is_no_less(material: Material, finished: Path, tmp_path: Path) -> None:
    """A checkpoint of other settings is not dropped in silence: an update goes on from its weights."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    command = ("run", material.recipe, "--data", material.photos, "--out", run)
    reads = json.loads((run / "warmup/manifest.json").read_text(encoding="utf-8"))["reads"]
    shutil.rmtree(run / "warmup")
    (run / "warmup").mkdir()
    (run / "warmup/started.json").write_text(json.dumps({"format": 2, "reads": reads}), encoding="utf-8")
    shutil.copy(checkpoint_of_another(tmp_path, material), run / "warmup/checkpoint.safetensors")
    progress = load_progress(run / "warmup/checkpoint.safetensors")
    assert progress is not None
    assert progress.seconds > 0
    changed = "--set=warmup.base_lr=0.04"
    assert "warmup.base_lr is 0.04, was 0.05" in tiny.refused(*command, CAREFUL, changed)
    assert (run / "warmup/checkpoint.safetensors").is_file()
    result = tiny.invoke(*command, CAREFUL, changed, "--update", "--until", "warmup")
    assert "warmup: going on from the weights that it left before" in result.err


def checkpoint_of_another(tmp_path: Path, material: Material) -> Path:
    """A checkpoint of the warm-up, from a run that was stopped."""
    out = tmp_path / "cut"
    command = ("run", material.recipe, "--data", material.photos, "--out", out, "--until", "warmup")
    line = [sys.executable, "-m", "semples", *map(str, command), "--set=warmup.epochs=400"]
    process = subprocess.Popen(line, env=tiny.environment(), stderr=subprocess.DEVNULL)
    path = out / "warmup/checkpoint.safetensors"
    end = time.monotonic() + 240
    while not path.is_file():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.7)  # some training that would be lost
    os.kill(process.pid, signal.SIGTERM)
    process.wait(120)
    return path


def test_regions_of_unchanged_photos_are_kept(changed: tuple[Path, Path], material: Material) -> None:
    run, photos = changed
    settings = ("--set=regions.proposals=felzenszwalb", "--set=regions.scales=[10]")
    tiny.invoke("regions", run, *settings)
    times = {path.stem: path.stat().st_mtime_ns for path in (run / "regions").glob("*.npz")}
    assert len(times) == 10
    tiny.invoke("regions", run, "--data", photos, "--recipe", material.recipe, *settings)
    after = {path.stem: path.stat().st_mtime_ns for path in (run / "regions").glob("*.npz")}
    assert {id for id, made in after.items() if times.get(id) != made} == {"new"}
    assert times.keys() - after.keys() == {"p02"}


def test_an_update_that_is_cut_when_a_stage_is_all_but_finished(
    changed: tuple[Path, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are written, and not yet said to be whole: it goes on from those of before once more."""
    run, photos = changed
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    command = ("run", material.recipe, "--data", photos, CAREFUL, "--update", "--until", "matching", "--out")
    tiny.invoke(*command, whole)
    finish = graph.finish
    for stage in ("warmup", "matching"):

        def cut(folder: Path, *described: Any, stage: str = stage) -> None:
            if folder.name == stage:
                raise UserError("cut")
            finish(folder, *described)

        with monkeypatch.context() as patch:
            patch.setattr(graph, "finish", cut)
            assert "cut" in tiny.refused(*command, run)
        assert (run / stage / "generator.safetensors").is_file()
    tiny.invoke(*command, run)
    for stage in ("warmup", "matching"):
        name = f"{stage}/generator.safetensors"
        assert (run / name).read_bytes() == (whole / name).read_bytes()
        assert not (run / stage / "before").exists()
