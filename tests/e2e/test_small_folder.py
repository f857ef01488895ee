"""The recipe `folder` on very few photos, with the shipped models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny

MODELS = ["generator.start=shipped:demo_vit", "judge.model=shipped:demo_clip", "segmenter.model=vit:shipped:demo_vit"]
SHORT = [f"{stage}.auto_steps=4" for stage in ("warmup", "matching", "prompting", "refinement")]
SHORT += ["segmenter.auto_iterations=2", "cams.scales=1", "data.workers=0"]


@pytest.mark.parametrize("count", [1, 10])
def test_a_folder_of_a_few_photos(count: int, tmp_path: Path) -> None:
    """Batches are no larger than the folder, and steps are counted, however few photos make a pass."""
    photos, out = tiny.draw_photos(tmp_path / "photos", count=max(2, count), seed=4), tmp_path / "run"
    if count == 1:  # of the two drawn photos the last has no tag
        (photos / "p01.png").unlink()
        (photos / "tags.csv").write_text("image,tags\np00.png,disc\n", encoding="utf-8")
    settings = [text for key in (*MODELS, *SHORT) for text in ("--set", key)]
    tiny.invoke("run", "folder", "--data", photos, "--out", out, *settings)
    tiny.invoke("segment", "train", out)
    for stage in ("warmup", "matching", "prompting", "refinement"):
        result = json.loads((out / stage / "manifest.json").read_text(encoding="utf-8"))["result"]
        assert result["steps"] == 2
        events = (out / stage / "events.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(events[-1])["step"] == 2
    assert len(list((out / "labels").glob("*.png"))) == count
