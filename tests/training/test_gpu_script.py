"""benchmarks/gpu.py, the one script for where a GPU is: runs here in a tiny mode, goes on, keeps to its budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

SCRIPT = tiny.ROOT / "benchmarks" / "gpu.py"
CELLS = ("golden", "steps-matching", "launches", "fed", "cams", "crf")


def script(out: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", "--out", str(out), *arguments],
        capture_output=True, text=True, timeout=400, env=tiny.environment(), check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_every_cell_once(tmp_path: Path) -> None:
    said = script(tmp_path, "--minutes", "30", "--only", *CELLS)
    cells = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*.json")}
    assert set(cells) == set(CELLS)
    assert not any("failed" in cell for cell in cells.values()), cells
    assert cells["golden"]["good"]
    rows = cells["golden"]["rows"]
    assert {name.split()[0] for name in rows} == {"no", "bf16"}
    assert all(row["gradient_ratio"] == pytest.approx(1, abs=0.1) for row in rows.values())
    assert cells["launches"]["matching"]["operations"] > 100
    assert cells["fed"]["0"]["waited"] > 0
    assert cells["crf"]["differing"] == 0
    assert "VOC, 10582 photos, minutes on one such card: matching" in said
    (tmp_path / "cams.json").unlink()
    before = (tmp_path / "golden.json").stat().st_mtime_ns
    again = script(tmp_path, "--minutes", "30", "--only", *CELLS)
    assert "cams: " in again
    assert "golden: " not in again
    assert (tmp_path / "golden.json").stat().st_mtime_ns == before


def test_the_budget_is_kept(tmp_path: Path) -> None:
    assert "left out, the budget is used up: golden, steps-warmup" in script(tmp_path, "--minutes", "-1")
    assert not list(tmp_path.iterdir())
