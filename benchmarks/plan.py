"""How right the plan of a run is: the processor time it says against what the run then takes, one JSON a cell.

    python benchmarks/plan.py --out DIR [--cells 3] [--results benchmarks/results/plan]

Every cell draws a world, and the same process makes the plan, then the run; finished cells are skipped. `factor` is
planned / taken of the steps alone: the start of the program, which both share, is left out. `disk_factor` likewise.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

STAGES = ("warmup", "matching", "prompting", "refinement")
SHORT = [f"{stage}.auto_steps={steps}" for stage, steps in zip(STAGES, (16, 16, 16, 20), strict=True)]
LONGER = [f"{stage}.auto_steps={steps}" for stage, steps in zip(STAGES, (30, 30, 30, 40), strict=True)]
SHIPPED = ["generator.start=shipped:demo_vit", "judge.model=shipped:demo_clip"]
CELLS: dict[str, tuple[str, int, int, int, list[str]]] = {  # recipe, photos, pixels, classes, settings
    "demo-20": ("demo", 20, 96, 8, LONGER),
    "folder-40-192": ("folder", 40, 192, 8, SHIPPED),
    "demo-100": ("demo", 100, 96, 8, []),
    "folder-30-crf": ("folder", 30, 128, 4, [*SHIPPED, "labels.method=crf"]),
    "folder-60": ("folder", 60, 96, 8, SHIPPED),
    "demo-50-3": ("demo", 50, 96, 3, []),
    "folder-24-256": ("folder", 24, 256, 8, SHIPPED),
    "folder-100": ("folder", 100, 96, 8, SHIPPED),
    "demo-40-threshold": ("demo", 40, 128, 8, ["labels.method=threshold", "labels.select=fixed"]),
    "demo-60-scales": ("demo", 60, 96, 8, ["cams.scales=1", "matching.batch=6"]),
    "folder-20-384": ("folder", 20, 384, 6, SHIPPED),
    "demo-80-long": ("demo", 80, 96, 8, ["refinement.auto_steps=120"]),
}


def seconds() -> float:
    """Processor seconds of this process and its finished children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def one(cell: str, out: Path, results: Path) -> None:
    """Plan and run one cell, and write its JSON."""
    import semples
    from semples.core.files import write_json
    from semples.demo import DemoSettings, draw_world

    recipe, photos, pixels, classes, settings = CELLS[cell]
    world = draw_world(out / cell, DemoSettings(photos=photos, classes=classes, resolution=pixels, seed=len(cell)))
    listed = ["data.split=train", *SHORT, *settings]
    run = semples.Run(out / cell / "run", data=world, recipe=recipe, settings=listed)
    begin = time.monotonic()
    plan = run.plan()
    planning, wall = time.monotonic() - begin, time.monotonic()
    before = seconds()
    outcomes = run()
    taken = seconds() - before
    left = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    planned = sum(step.cpu or 0.0 for step in plan.steps)
    write_json(
        results / f"{cell}.json",
        {
            "cell": cell, "recipe": recipe, "photos": photos, "pixels": pixels, "classes": classes,
            "settings": settings,
            "planned": round(planned, 2), "taken": round(taken, 2), "factor": round(planned / taken, 3),
            "disk_planned": plan.disk, "disk_left": left, "disk_factor": round(plan.disk / left, 3),
            "planning_seconds": round(planning, 1), "wall_planned": plan.wall,
            "wall": round(time.monotonic() - wall, 1),
            "steps": {step.step: step.cpu for step in plan.steps},
            "steps_wall_taken": {outcome.step: outcome.seconds for outcome in outcomes},
        },
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for worlds and runs")
    parser.add_argument(
        "--results", type=Path, default=Path("benchmarks/results/plan"), help="folder for the JSON files"
    )
    parser.add_argument("--cells", type=int, default=len(CELLS), help="at most this many new cells")
    given = parser.parse_args()
    todo = [cell for cell in CELLS if not (given.results / f"{cell}.json").is_file()][: given.cells]
    for cell in todo:
        one(cell, given.out, given.results)
    for path in sorted(given.results.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        print(f"{row['cell']}: {row['planned']} s planned, {row['taken']} s taken, factor {row['factor']}")


if __name__ == "__main__":
    main()
