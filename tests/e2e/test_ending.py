"""Ended by a signal, the command says so in one line and shells see the signal's status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semples.core.lock import exclusive
from tests import tiny

WAITS = """
import sys, time
from semples import cli
def wait():
    print("waiting", flush=True)
    time.sleep(60)
cli.app.command(wait)
sys.argv = ["semples", "wait"]
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "ignored"), [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGHUP, True)]
)
def test_a_signal_is_one_line(number: signal.Signals, ignored: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tiny.environment(),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    os.kill(process.pid, number)
    if ignored:  # nohup
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        number = signal.SIGTERM
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    said = f"semples: ended by {number.name}; run the same command to go on (what was finished is kept)"
    assert err.splitlines() == [said]


def test_full_standard_output_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "semples", "recipes", "list"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=tiny.environment(), check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("semples: standard output: the disk is full")
    assert len(ended.stderr.splitlines()) == 1


def test_mistakes_in_the_command_line_are_one_line() -> None:
    line = tiny.refused("run", "voc", "--data", "x", "--out", "y", "--nonsense")
    assert "Unknown option: --nonsense" in line
    assert "semples run --help" in line
    assert r"\x1b[31m" in tiny.refused("recipes", "show", "\x1b[31mx\n")


def test_export_says_who_writes(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=2)
    nothing = [f"--set={stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
    small = [f"--set=generator.{key}" for key in ("start=random", "width=16", "depth=1", "heads=2", "image_size=16")]
    run = tmp_path / "run"
    tiny.invoke("run", "folder", "--data", photos, "--out", run, "--until", "data", *nothing, *small)
    with exclusive(run, what="another run"):
        assert "wait for it" in tiny.refused("export", "coco", run, "--out", tmp_path / "coco")
        assert "another run" in tiny.refused("label", run)
    assert "label" in tiny.refused("export", "coco", run, "--out", tmp_path / "coco")
    assert not (tmp_path / "coco").exists()
