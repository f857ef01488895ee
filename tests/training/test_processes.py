"""Processes that wait for one another, and what a step costs them beside the work itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from semples.training.engine import Zero
from tests import tiny

pytestmark = pytest.mark.xdist_group("processes")

SLOW = """
import os, sys, time
from pathlib import Path
from semples.core.errors import UserError
from semples.recipe import RunSettings
from semples.training.engine import Engine
from torch import distributed

engine = Engine.start(RunSettings(wait_hours=float(sys.argv[1]) / 3600))
engine.wait()
if engine.is_main:
    time.sleep(float(sys.argv[2]))
try:
    engine.wait()
    said = "together"
except UserError as error:
    said = f"refused: {error}"
Path(sys.argv[3], f"said-{os.environ['RANK']}").write_text(said)
"""


def processes(folder: Path, *, limit: float, slow: float) -> list[str]:
    """What each of two processes says at the end, in a file of its own: lines of two on one pipe can run together."""
    script = folder / "slow.py"
    script.write_text(SLOW, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*launch, str(script), str(limit), str(slow), str(folder)], capture_output=True, text=True, timeout=240,
        env=tiny.environment(), check=False,
    )  # fmt: skip
    assert "Traceback" not in ended.stdout
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("said-*"))]


def test_processes_wait_for_a_slow_one(tmp_path: Path) -> None:
    assert processes(tmp_path, limit=120, slow=4) == ["together"] * 2


def test_a_process_that_takes_too_long_is_told_of_in_one_line(tmp_path: Path) -> None:
    lines = processes(tmp_path, limit=2, slow=8)
    assert any("took longer than run.wait_hours; run the same command to go on" in line for line in lines)
    assert lines.count("together") < 2


def operations(count: int) -> tuple[int, nn.ParameterList]:
    """Operations that a zero over `count` parameters takes, forward and backward, beside the loss 2 * first."""
    parameters = nn.ParameterList(nn.Parameter(torch.ones(3)) for _ in range(count))
    with profile(activities=[ProfilerActivity.CPU]) as made:
        loss = (2 * parameters[0]).sum() + Zero.apply(*parameters)  # type: ignore[no-untyped-call]
        loss.backward()
    return sum(event.count for event in made.key_averages() if event.key.startswith("aten::")), parameters


def test_a_zero_takes_the_same_few_operations_for_any_number_of_parameters() -> None:
    few, _ = operations(2)
    many, parameters = operations(300)
    assert many == few
    assert torch.equal(parameters[0].grad, torch.full((3,), 2.0))  # type: ignore[arg-type]
    assert all(parameter.grad is None for parameter in list(parameters)[1:])
