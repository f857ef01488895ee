"""A process of several is killed in the middle of steps; all are started anew and the run ends with the same bits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.e2e.conftest import Material
from tests.segmenter import material as segmenters

pytestmark = [pytest.mark.xdist_group("processes"), pytest.mark.slow]

# Process 1 kills itself once the checkpoint of a step is there: in every start but the last of another step.
KILLED = """
import os, signal, sys, threading, time
from pathlib import Path

def watch(path, killed):
    while not path.is_file():
        time.sleep(0.005)
    killed.touch()
    os.kill(os.getpid(), signal.SIGKILL)

started, steps = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), sys.argv.pop(1).split(",")
if os.environ["RANK"] == "1" and started < len(steps):
    out = Path(sys.argv[-1])
    killed = out.parent / f"killed {started}"
    threading.Thread(target=watch, args=(out / steps[started], killed), daemon=True).start()
from semples.cli import main
main()
"""
# Two steps, made anew in one launch; by the files that begin to be there in the middle of them.
WATCHED = (
    "data/started.json,regions/started.json",
    "warmup/checkpoint.safetensors,prompting/checkpoint.safetensors",
    "matching/checkpoint.safetensors,refinement/checkpoint.safetensors",
    "cams/started.json,selection/started.json",
    "curve/started.json,labels/started.json",
    "health-cams/started.json,scores/started.json",
    "segmenter/checkpoint.safetensors",
)
REGIONS = ("labels.method=regions+crf", "regions.proposals=felzenszwalb", "regions.scales=[50]")
SMALL = ("image_size=32", "photo_size=40", "iterations=6", "batch=4")


def launched(*arguments: str | Path, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launch, "--max-restarts", str(restarts), *map(str, arguments)],
        capture_output=True, text=True, env=tiny.environment(), check=False, timeout=550,
    )  # fmt: skip


@pytest.fixture(scope="module")
def commands(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | Path]]:
    """The command that makes the segmenter, and the one that makes all other steps, without the run's folder."""
    network = segmenters.folder(tmp_path_factory.mktemp("vit") / "vit", "semples_vit")
    small = [f"--set=segmenter.{entry}" for entry in (f"model=scratch:{network}", *SMALL)]
    regions = [f"--set={entry}" for entry in REGIONS]
    return {
        "run": ["run", material.recipe, "--data", material.photos, *regions, *small, "--out"],
        "segmenter": ["segment", "train", *small],
    }


@pytest.fixture(scope="module")
def whole(commands: dict[str, list[str | Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave that nobody kills."""
    out = tmp_path_factory.mktemp("whole") / "run"
    for command in commands.values():
        ended = launched("-m", "semples", *command, out)
        assert ended.returncode == 0, ended.stderr
    return out


@pytest.mark.parametrize("watched", WATCHED)
def test_killed_in_every_step_and_restarted(
    watched: str, whole: Path, commands: dict[str, list[str | Path]], tmp_path: Path
) -> None:
    script, out = tmp_path / "killed.py", shutil.copytree(whole, tmp_path / "run")
    script.write_text(KILLED, encoding="utf-8")
    steps = [name.partition("/")[0] for name in watched.split(",")]
    for step in steps:
        shutil.rmtree(out / step)
    ended = launched(script, watched, *commands.get(steps[0], commands["run"]), out, restarts=2)
    assert ended.returncode == 0, ended.stderr
    assert "another process has ended" in ended.stderr or "ended by SIGTERM" in ended.stderr  # what the first one says
    # Not by what the launcher says: it names the process that it finds ended first, which may be the other one.
    assert all((tmp_path / f"killed {number}").is_file() for number in range(len(steps)))
    expected, results = tiny.results_of(whole), tiny.results_of(out)
    assert results.keys() == expected.keys()
    assert [name for name, value in expected.items() if results[name] != value] == []
