"""A run that is killed, or asked to stop, and started again ends with the bits of an unbroken one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny
from tests.e2e.conftest import Material

pytestmark = pytest.mark.xdist_group("interrupted")

SEED = 20240229
STAGES = ("warmup", "matching", "prompting", "refinement")
STEPS = 12  # of every stage: 6 epochs of 10 photos in batches of 4
CHANGES = [f"--set={stage}.epochs=6" for stage in STAGES] + ["--set=run.log_every=1"]


def lines_in(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def moments(out: Path) -> list[tuple[str, Callable[[], bool], float]]:
    """Five moments spread over a run: once in every stage and once among the CAMs, each at a random step and after a
    random part of the next one (so also while a checkpoint is being written)."""
    draw = random.Random(SEED)
    planned: list[tuple[str, Callable[[], bool], float]] = []
    for stage in STAGES:
        events, step = out / stage / "events.jsonl", draw.randrange(1, STEPS - 3)
        planned.append((stage, lambda events=events, step=step: lines_in(events) >= step, draw.uniform(0, 0.03)))
    count = draw.randrange(1, 5)
    planned.append(("cams", lambda: len(list((out / "cams").glob("*.npz"))) >= count, draw.uniform(0, 0.005)))
    return planned


def start(arguments: list[str | Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "semples", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tiny.environment())


def interrupt(
    process: subprocess.Popen[str], reached: Callable[[], bool], delay: float, number: int
) -> tuple[int, str]:
    """Send the signal once the moment is reached; returns how the process ended and its standard error."""
    deadline = time.monotonic() + 120
    while process.poll() is None and not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(delay)
    if process.poll() is None:
        os.kill(process.pid, number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_killed_five_times_and_stopped_once(material: Material, tmp_path: Path) -> None:
    """The broken run also decodes in a worker process, the unbroken one does not."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    common = ["run", material.recipe, "--data", material.photos, *CHANGES]
    tiny.invoke(*common, "--out", whole)
    arguments = [*common, "--out", broken, "--set=data.workers=1"]
    killed = []
    for stage, reached, delay in moments(broken):
        code, err = interrupt(start(arguments), reached, delay, signal.SIGKILL)
        assert code in (0, -signal.SIGKILL), err
        killed.append(code == -signal.SIGKILL and not (broken / "scores" / "manifest.json").is_file())
        if stage == "matching":
            # Asked politely, the stage ends with a checkpoint and says how to go on.
            events = broken / "prompting" / "events.jsonl"
            code, err = interrupt(start(arguments), lambda events=events: lines_in(events) >= 2, 0, signal.SIGTERM)
            assert code not in (0, -signal.SIGTERM)
            assert "prompting stopped at step" in err.splitlines()[-1]
            assert "run the same command to resume" in err.splitlines()[-1]
            assert (broken / "prompting" / "checkpoint.safetensors").is_file()
            assert "interrupted at" in tiny.invoke("status", broken).out
    assert sum(killed) >= 4  # the CAMs may be done before the signal arrives
    last = tiny.invoke(*arguments)
    assert "warmup: up to date" in last.err
    left, right = tiny.results_of(whole), tiny.results_of(broken)
    for name in ("run.json", "recipe.yaml"):  # data.workers differs
        left.pop(name), right.pop(name)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
