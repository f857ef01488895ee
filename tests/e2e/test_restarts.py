"""A process of several is killed in the middle of steps; all are started anew and the run ends with the same bits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.e2e.conftest import Material

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
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    killed = out.parent / f"killed {started}"
    threading.Thread(target=watch, args=(out / steps[started], killed), daemon=True).start()
from semples.cli import main
main()
"""
WATCHED = (
    "warmup/checkpoint.safetensors,prompting/checkpoint.safetensors",
    "matching/checkpoint.safetensors,refinement/checkpoint.safetensors",
    "cams/started.json,labels/started.json",
)


def launched(*arguments: str | Path, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launch, "--max-restarts", str(restarts), *map(str, arguments)],
        capture_output=True, text=True, env=tiny.environment(), check=False, timeout=550,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What two processes leave that nobody kills."""
    out = tmp_path_factory.mktemp("whole") / "run"
    ended = launched("-m", "semples", "run", material.recipe, "--data", material.photos, "--out", out)
    assert ended.returncode == 0, ended.stderr
    return tiny.results_of(out)


@pytest.mark.parametrize("steps", WATCHED)
def test_killed_in_every_step_and_restarted(
    steps: str, whole: dict[str, object], material: Material, tmp_path: Path
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    out = tmp_path / "run"
    ended = launched(script, steps, "run", material.recipe, "--data", material.photos, "--out", out, restarts=3)
    assert ended.returncode == 0, ended.stderr
    assert "another process has ended" in ended.stderr
    # Not by what the launcher says: it names the process that it finds ended first, which may be the other one.
    assert all((tmp_path / f"killed {number}").is_file() for number in (0, 1))
    results = tiny.results_of(out)
    assert results.keys() == whole.keys()
    assert [name for name, value in whole.items() if results[name] != value] == []
