"""What do corrected photos bring the segmenter: the most doubtful ones, as `semples label --review` lists them, or any?

For each demo folder (`semples demo --out DEMOS/s0 --seed 0` makes one; it must hold label maps) N photos are corrected:
their masks take the place of their label maps with full confidence, as `semples correct` does it. The segmenter of the
recipe `demo` is trained on all label maps and scored without tags on photos that nothing has seen (list `val`). The
choice at random is drawn by the run's seed. Cells that have a result are skipped.

    OMP_NUM_THREADS=1 python benchmarks/corrections.py --demos DEMOS --seeds 0 1 2 --work work/corrections
    python benchmarks/corrections.py --table
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from semples.core.files import read_json, write_json
from semples.data.dataset import open_dataset
from semples.inspect.review import Looked, coverage, look
from semples.prediction import load
from semples.prediction.evaluate import evaluate
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.label_maps import CONFIDENCE, write_corrected
from semples.run.names import MODEL, SEGMENTER

RESULTS = Path(__file__).parent / "results" / "corrections"
COUNTS = (10, 30, 100)
CHOICES = ("review", "random")
CELLS = [(0, "none"), *((count, choice) for count in COUNTS for choice in CHOICES)]


def measure(home: Path, work: Path, *, seed: int, count: int, choice: str) -> dict[str, Any]:
    """Correct `count` photos of a demo folder, train a segmenter and score it. mIoU in 0..1."""
    begin = time.process_time()
    world, run = home / "world", pipeline.open_run(home / "run")
    context = Context(run.recipe, Source(world), home / "run")
    seen = look(context)
    chosen = choose(seen, count=count, choice=choice, seed=seed)
    folder = work / f"s{seed}-{count}-{choice}"
    labels = folder.with_name(f"{folder.name}-labels")
    linked(home / "run" / "labels", labels, [one.item.id for one in seen])
    dataset = context.scored_dataset
    for one in chosen:
        truth = dataset.mask(one.item)
        assert truth is not None
        write_corrected(labels, one.item, truth)
    recipe = load_recipe("demo", [f"run.seed={seed}"])
    trained = Context(recipe, Source(world), folder)
    pipeline.segmenter_of_folders(trained, world / "JPEGImages", labels, world / "classes.txt")
    model = load(trained.folder(SEGMENTER) / MODEL, workers=0)
    scored = evaluate(model, open_dataset(world, split="val"))
    wrong = [one.wrong for one in chosen if one.wrong is not None]
    return {
        "seed": seed,
        "photos": len(seen),
        "corrected": count,
        "choice": choice,
        "segmenter": round(scored.scores.miou / 100, 6),
        "boundary_iou": round(scored.mean_boundary / 100, 6),
        "wrong_pixels_of_chosen": round(float(np.mean(wrong)), 4) if wrong else None,
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def choose(seen: list[Looked], *, count: int, choice: str, seed: int) -> list[Looked]:
    """The photos to correct."""
    if choice == "review":
        return sorted(seen, key=lambda one: (one.certainty, one.item.id))[:count]
    places = np.random.default_rng(seed).permutation(len(seen))[:count]
    return [seen[place] for place in places]


def linked(labels: Path, folder: Path, ids: list[str]) -> None:
    """Hard links to label maps and confidences; what is written over them replaces the link, not the file."""
    for id in ids:
        for source in (labels / f"{id}.png", labels / CONFIDENCE / f"{id}.png"):
            target = folder / source.relative_to(labels)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(source, target)


def surest(home: Path) -> dict[str, Any]:
    """The review list's claim, measured and estimated: wrong pixels of the surest photos."""
    run = pipeline.open_run(home / "run")
    context = Context(run.recipe, Source(home / "world"), home / "run")
    seen = look(context)
    bare = [Looked(one.item, one.certainty, one.doubt, one.missing) for one in seen]
    known = [(one.wrong, one.doubt) for one in seen if one.wrong is not None]
    return {
        "measured": coverage(context, seen)["rows"],
        "estimated": coverage(context, bare)["rows"],
        "wrong_per_doubt": round(sum(wrong for wrong, _ in known) / sum(doubt for _, doubt in known), 4),
    }


def table() -> str:
    """Means over seeds, and how many."""
    cells = [read_json(path) for path in sorted(RESULTS.glob("s[0-9]*-*.json"))]
    lines = ["| corrected of 300 | from the review list | at random | seeds |", "|---|---|---|---|"]
    for count in (0, *COUNTS):
        row, seeds = [], 0
        for choice in CHOICES:
            values = [
                100 * cell["segmenter"]
                for cell in cells
                if cell["corrected"] == count and cell["choice"] in (choice, "none")
            ]
            seeds = len(values)
            row.append(f"{statistics.mean(values):.1f}" if values else "-")
        lines.append(f"| {count} | {row[0]} | {row[1]} | {seeds} |")
    return "\n".join(lines)


def main() -> None:
    """Measure the missing cells, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", type=Path, help="folder with the demo folders s0, s1, ...")
    parser.add_argument("--work", type=Path, default=Path("work/corrections"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    for seed in options.seeds:
        home = options.demos / f"s{seed}"
        place = RESULTS / f"surest-s{seed}.json"
        if not place.is_file():
            write_json(place, surest(home))
        for count, choice in CELLS:
            place = RESULTS / f"s{seed}-{count}-{choice}.json"
            if not place.is_file():
                write_json(place, measure(home, options.work, seed=seed, count=count, choice=choice))
                print(place.name, read_json(place)["segmenter"], flush=True)


if __name__ == "__main__":
    main()
