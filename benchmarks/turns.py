"""Is anything slower than it was? Every step of one run by two states of the program, by turns.

    git worktree add --detach BEFORE 0e5ccf8
    python benchmarks/turns.py run --before BEFORE --work WORK [--turns 3] [--photos 100] [--out FILE]
    python benchmarks/turns.py show benchmarks/results/turns.json

Both states train by the recipe demo-0e5ccf8 on the same drawn photos, a process for each step with one thread of
PyTorch, in an order that changes from turn to turn. A step costs the processor seconds of its whole command, start and
helper processes with it; *again* is the last of them with nothing to do. `predict` segments 40 photos by the network of
that turn and state. The clock is not looked at, so that other work on the machine matters little. --only-after:
settings that the earlier state does not know, so that both do the same (health.photos=0: no look after every stage).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semples import demo
from semples.core.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "benchmarks" / "recipes" / "demo-0e5ccf8.yaml"
STEPS = ("data", "warmup", "matching", "prompting", "refinement", "cams", "regions", "curve", "labels")
NAMES = {"again": "nothing to do", "segmenter": "segmenter, 100 steps", "predict": "predict, two scales, mirrored, CRF"}


def seconds(state: Path, *command: object) -> float:
    """Processor seconds of a command by a state of the program, and of its helpers."""
    variables = os.environ | {"PYTHONPATH": str(state / "src"), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "semples", *map(str, command)], env=variables, cwd=state, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{state}: semples {' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def turn(state: Path, world: Path, out: Path, settings: Sequence[str]) -> dict[str, float]:
    """Seconds of every step of a run into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    run = ("run", RECIPE, "--data", world, "--out", out / "run")
    chosen = [word for setting in settings for word in ("--set", setting)]
    taken = {step: seconds(state, *run, "--until", step, *chosen) for step in STEPS}
    taken["again"] = seconds(state, *run, "--until", STEPS[-1], *chosen)
    taken["segmenter"] = seconds(state, "segment", "train", out / "run", "--set", "segmenter.iterations=100")
    photos = out / "photos"
    photos.mkdir()
    for photo in sorted((world / "JPEGImages").iterdir())[:40]:
        shutil.copy(photo, photos)
    taken["predict"] = seconds(state, "predict", out / "run", photos, "--out", out / "predicted")
    return {step: round(one, 2) for step, one in taken.items()}


def run(before: Path, work: Path, *, turns: int, photos: int, out: Path, only_after: Sequence[str]) -> None:
    """All turns; a finished one is kept in `out`."""
    stored: dict[str, Any] = read_json(out) if out.is_file() else {"photos": photos, "before": [], "after": []}
    world = demo.draw_world(work, demo.DemoSettings(photos=photos, seed=3))
    states = {"before": before.resolve(), "after": ROOT}
    settings = {"before": (), "after": tuple(only_after)}
    for number in range(turns):
        for name in sorted(states, reverse=number % 2 == 0):
            if len(stored[name]) <= number:
                stored[name].append(turn(states[name], world, work / name, settings[name]))
                write_json(out, stored)
                print(name, stored[name][-1], flush=True)


def show(path: Path) -> None:
    """A Markdown table of medians."""
    stored = read_json(path)
    print(f"| {stored['photos']} photos of 96 px, CPU seconds | before | after | after / before, each turn |")
    print("|---|--:|--:|---|")
    for step in stored["before"][0]:
        before, after = ([one[step] for one in stored[name]] for name in ("before", "after"))
        ratios = ", ".join(f"{b / a:.2f}" for a, b in zip(before, after, strict=True) if a > 0)
        print(
            f"| {NAMES.get(step, step)} | {statistics.median(before):.2f} | {statistics.median(after):.2f} | {ratios} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running, showing = commands.add_parser("run"), commands.add_parser("show")
    running.add_argument("--before", type=Path, required=True, help="a checkout of the other state")
    running.add_argument("--work", type=Path, required=True)
    running.add_argument("--turns", type=int, default=3)
    running.add_argument("--photos", type=int, default=100)
    running.add_argument("--only-after", nargs="*", default=["health.photos=0"], metavar="KEY=VALUE")
    running.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "turns.json")
    showing.add_argument("path", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "show":
        show(chosen.path)
    else:
        given = {name: getattr(chosen, name) for name in ("turns", "photos", "out", "only_after")}
        run(chosen.before, chosen.work, **given)


if __name__ == "__main__":
    main()
