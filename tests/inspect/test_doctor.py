"""The doctor names versions, devices, caches and what is missing."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from semples import __version__
from semples.inspect import doctor
from semples.recipe import Recipe


def test_findings() -> None:
    findings = {what: (value, fine) for what, value, fine in doctor.examine()}
    assert findings["semples"] == (__version__, True)
    assert findings["torch"] == (importlib.metadata.version("torch"), True)
    assert findings["GPU"][1] if "GPU" in findings else any(what.startswith("GPU ") for what in findings)
    assert "model cache" in findings
    for repo in (Recipe().judge.model, Recipe().generator.start):
        assert repo in findings


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("no-such-package",))
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-extra": "curves: pip install it"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    findings = {what: (value, fine) for what, value, fine in doctor.examine()}
    assert findings["no-such-package"] == ("missing: pip install no-such-package", False)
    assert findings["no-such-extra (optional)"] == ("not installed; curves: pip install it", True)
    assert findings["model cache"][0] == str(tmp_path)


@pytest.mark.parametrize(("gib", "fine"), [(0.0625, False), (8, True)])
def test_shared_memory_that_is_too_small_is_told(gib: float, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHARED_MEMORY", Path(__file__).parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=gib * 2**30, free=gib * 2**30))
    value, good = next((value, good) for what, value, good in doctor.examine() if what == "shared memory")
    assert good is fine
    assert ("64 MiB" in value and "--shm-size=8g" in value) is not fine


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": "{}", "pytorch_model.bin": "x"},
        {"config.json": "{}", "model.safetensors": "x"},
        {
            "config.json": "{}",
            "model.safetensors.index.json": '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}',
            "model-00001-of-00001.safetensors": "x",
        },
    ],
    ids=["bin", "safetensors", "shards"],
)
def test_any_whole_download_is_called_good(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the cache's own layout, as the hub's client leaves it; with any file missing it is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = Recipe().judge.model
    folder = tmp_path / f"models--{repo.replace('/', '--')}"
    commit = "a" * 40
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    for name, content in files.items():
        (folder / "snapshots" / commit / name).write_text(content, encoding="utf-8")

    def verdict() -> tuple[str, bool]:
        return next((value, fine) for what, value, fine in doctor.examine() if what == repo)

    value, fine = verdict()
    assert fine
    assert value.startswith("in the cache (")
    for name, content in files.items():
        (folder / "snapshots" / commit / name).unlink()
        assert not verdict()[1], name
        (folder / "snapshots" / commit / name).write_text(content, encoding="utf-8")
