"""Datasets of the hub, out of a cache as its client lays it out; and a whole run on one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from semples.core.members import resolved
from tests import tiny
from tests.data.cells import in_parquet

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached_on_hub(home: Path, repo: str, files: dict[str, bytes]) -> Path:
    """The hub's cache as its client lays it out: links in a snapshot to files named by their digests."""
    folder = home / "hub" / f"datasets--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    for number, (name, data) in enumerate(files.items()):
        blob = folder / "blobs" / f"{number:040x}"
        blob.write_bytes(data)
        link = folder / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return folder / "snapshots" / COMMIT


def test_a_run_from_the_hub_equals_one_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CAMs, label maps, scores and predictions bit by bit; the cache stays as it is, and exports have the photos."""
    photos = tiny.draw_photos(tmp_path / "files", count=6)
    data = in_parquet(photos, row_group_size=2)
    snapshot = cached_on_hub(tmp_path / "home", "someone/shapes", {
        "data/train-00000-of-00001.parquet": data, "README.md": b"---\npretty_name: x\n---\n",
        "classes.txt": b"disc\nsquare\n",
    })  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = sorted(path for path in (tmp_path / "home").rglob("*") if path.is_file())
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    sets = [
        "labels.select=fixed",
        "health.photos=0",
        *(f"{stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")),
    ]
    made: dict[str, dict[str, bytes]] = {}
    for name, source in (("files", str(photos)), ("hub", "hf://someone/shapes")):
        out = tmp_path / f"run {name}"
        tiny.invoke("run", recipe, "--data", source, "--out", out, *(f"--set={one}" for one in sets))
        made[name] = {
            path.relative_to(out).as_posix(): path.read_bytes()
            for step in ("cams", "labels")
            for path in (out / step).rglob("*.*")
            if path.suffix in (".png", ".npz", ".npy")
        }
        scores = (
            json.loads((out / "labels" / "scores.json").read_text(encoding="utf-8"))
            if (out / "labels" / "scores.json").is_file()
            else {}
        )
        made[name]["scores"] = json.dumps(scores).encode()
        tiny.invoke("export", "coco", out, "--out", tmp_path / f"coco {name}")
        given = photos if name == "files" else snapshot / "data" / "train-00000-of-00001.parquet"
        tiny.invoke("predict", out, given, "--out", tmp_path / f"predicted {name}", "--tags", "disc,square")
        made[name] |= {
            f"predicted/{path.name}": path.read_bytes()
            for path in (tmp_path / f"predicted {name}" / "labels").rglob("*.png")
        }
    assert made["hub"] == made["files"]
    assert len(made["hub"]) > 16
    assert before == sorted(path for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert resolved(snapshot / "data" / "train-00000-of-00001.parquet" / "image" / "0.png").name == "0.png"


def test_check_as_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))  # of processes
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data = in_parquet(tiny.draw_photos(tmp_path / "files", count=5))
    cached_on_hub(tmp_path / "home", "someone/shapes", {"train.parquet": data, "sub/test.parquet": data})
    cached_on_hub(tmp_path / "home", "someone/half", {"data/train-00000-of-00002.parquet": data})
    cached_on_hub(tmp_path / "home", "someone/script", {"README.md": b"x", "script.py": b"raise SystemExit(9)"})
    done = tiny.semples("data", "check", "hf://datasets/someone/shapes", "--json", tmp_path / "told.json")
    assert "5 photos" in done.stdout
    (tmp_path / "set.parquet").write_bytes(data)
    assert "5 photos" in tiny.invoke("data", "check", tmp_path / "set.parquet").out
    told = json.loads((tmp_path / "told.json").read_text(encoding="utf-8"))
    assert (told["photos"], told["masks"], told["classes"]) == (5, 5, ["disc", "square"])
    for source, said in (
        ("hf://someone/half", "only 1 of 2 files train-* are in the local cache"),
        ("hf://someone/script", "no Parquet files, and scripts are not run"),
        ("hf://someone/unknown", "not in the local cache and the hub cannot be reached"),
        ("hf://someone/shapes/../../x", "not a dataset of the hub"),
        ("hf://someone", "not a dataset of the hub"),
    ):
        assert said in tiny.refused("data", "check", source)
