"""The demo as a newcomer starts it, cut down to seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import tiny

SHORT = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
SHORT += ["--set=segmenter.iterations=3", "--set=cams.scales=[1.0]", "--photos", "24", "--seed", "3"]
STAGES = {"warmup", "matching", "refinement"}


@pytest.mark.xdist_group("demo")
def test_demo_leaves_figures_and_pictures_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = tiny.invoke("demo", "--out", out, *SHORT)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    for key in ("miou", "fp_own", "auc"):
        assert set(summary[key]) == STAGES
        assert all(0 <= value <= 1 for value in summary[key].values())
    assert len(summary["prompt_words"]) == 8
    assert all(len(words) == 5 for words in summary["prompt_words"].values())
    assert {"data", *STAGES, "prompting", "cams", "labels"} <= summary["seconds"].keys()
    assert summary["auc"]["warmup"] > 0.5  # things are at least as active as their backgrounds
    for name in ("stages.png", "world.png", "confusion.png"):
        with Image.open(out / name) as picture:
            assert np.asarray(picture).std() > 20
    assert set(summary["segmenter"]) == {"miou", "boundary_iou"}
    assert (out / "run" / "segmenter" / "model" / "model.safetensors").is_file()
    assert "try next" in first.out
    again = tiny.invoke("demo", "--out", out, *SHORT)
    assert again.err.count("up to date") == len(summary["seconds"])
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["miou"] == summary["miou"]


def test_another_world_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    stored = {"seed": 9, "p": 0.9, "resolution": 96, "photos": {"train": 24}, "classes": ["train"]}
    (tmp_path / "world" / "world.json").write_text(json.dumps(stored), encoding="utf-8")
    assert "holds another world" in tiny.refused("demo", "--out", tmp_path, *SHORT)
