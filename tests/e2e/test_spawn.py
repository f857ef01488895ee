"""New processes, as macOS and Windows start them, in place of copies: training and label maps have the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.e2e.conftest import Material
from tests.segmenter import material as segmenters

# `-c` has no main module to be imported again; `spawn` counts the processes that begin.
SPAWNING = """
import multiprocessing, sys
from multiprocessing import popen_spawn_posix
begun = []
class Counted(popen_spawn_posix.Popen):
    def __init__(self, process):
        begun.append(process.name)
        super().__init__(process)
multiprocessing.set_start_method("spawn")
multiprocessing.context.SpawnProcess._Popen = staticmethod(lambda process: Counted(process))
from semples.cli import main
try:
    main()
finally:
    print("begun", len(begun), file=sys.stderr)
"""
REGIONS = ("labels.method=regions+crf", "regions.proposals=felzenszwalb", "regions.scales=[50]")


def by_new_processes(*line: str | Path) -> int:
    """Run the command line with spawned processes; how many began."""
    made = subprocess.run(
        [sys.executable, "-c", SPAWNING, *map(str, line)],
        capture_output=True, text=True, encoding="utf-8", env=tiny.environment(), check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return int(made.stderr.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="with one processor nothing is shared")
def test_a_run_with_new_processes_has_the_bits_of_one_without(material: Material, tmp_path: Path) -> None:
    line = ["run", material.recipe, "--data", material.photos, *(part for one in REGIONS for part in ("--set", one))]
    tiny.semples(*line, "--out", tmp_path / "alone")
    begun = by_new_processes(*line, "--out", tmp_path / "new", "--set", "data.workers=2")
    assert begun >= 2 * 6  # warm-up, (a), (b), (c), regions, label maps
    recorded = ("recipe.yaml", "run.json")  # hold the number of workers
    alone, new = (tiny.results_of(tmp_path / name) for name in ("alone", "new"))
    assert {name: alone[name] for name in alone if name not in recorded} == {
        name: new[name] for name in new if name not in recorded
    }


@pytest.mark.slow
def test_a_segmenter_with_new_processes_has_the_bits_of_one_without(tmp_path: Path) -> None:
    photos, source = tiny.draw_photos(tmp_path / "photos", count=8), segmenters.folder(tmp_path / "vit", "semples_vit")
    chosen = {"model": f"scratch:{source}", "image_size": 32, "photo_size": 40, "iterations": 3, "batch": 4}
    line = ["segment", "train", "--photos", photos, "--labels", photos / "masks"]
    line += [f"--set=segmenter.{key}={value}" for key, value in chosen.items()]
    tiny.invoke(*line, "--out", tmp_path / "alone", "--set=data.workers=0")
    assert by_new_processes(*line, "--out", tmp_path / "new", "--set=data.workers=2") == min(2, os.cpu_count() or 1)
    weights = [tmp_path / name / "segmenter/model/model.safetensors" for name in ("alone", "new")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
