"""The doctor names versions, devices, caches and what is missing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from semples import __version__
from semples.inspect import doctor
from semples.recipe import Recipe


def test_findings() -> None:
    found = {what: (value, fine) for what, value, fine in doctor.examine()}
    assert found["semples"] == (__version__, True)
    assert found["torch"] == (importlib.metadata.version("torch"), True)
    assert found["GPU"][1] if "GPU" in found else any(what.startswith("GPU ") for what in found)
    assert "model cache" in found
    for repo in (Recipe().judge.model, Recipe().generator.start):
        assert repo in found


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("no-such-package",))
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-extra": "curves: pip install it"})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    found = {what: (value, fine) for what, value, fine in doctor.examine()}
    assert found["no-such-package"] == ("missing: pip install no-such-package", False)
    assert found["no-such-extra (optional)"] == ("not installed; curves: pip install it", True)
    assert found["model cache"][0] == str(tmp_path)
