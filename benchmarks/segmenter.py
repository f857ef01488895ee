"""How good is the final segmenter on photos it has never seen, and what does each remedy against wrong labels bring?

For each demo run (`semples demo --out RUNS/s321 --seed 321` makes one) the segmenter of the recipe `demo` is trained on
the run's label maps, as shipped and with each remedy, and the same network on the exact masks. All are scored without
tags on the list `val` at several test-time settings. A second call goes on where the first was cut.

    OMP_NUM_THREADS=1 python benchmarks/segmenter.py --runs RUNS --work work/segmenter --seeds 321 322 323 324 325
    OMP_NUM_THREADS=1 python benchmarks/segmenter.py --runs RUNS --seeds 301 302 303 \
        --variants plain photo batch ignore weigh ema both
    python benchmarks/segmenter.py --table
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from semples.core.files import read_json, write_json
from semples.data.dataset import open_dataset
from semples.prediction import load
from semples.prediction.evaluate import evaluate
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.names import MODEL, SEGMENTER
from semples.run.steps.labels import SCORES

RECIPE = Path(__file__).parent / "recipes" / "demo-0e5ccf8.yaml"  # of the demo when these figures were made
RESULTS = Path(__file__).parent / "results" / "segmenter"
PLAIN = [f"segmenter.noise.{name}" for name in ("clip=no", "ema=0", "ignore_below=0", "weigh=false")]
# The published 1.2 and 120 pixels are for photos of 512 pixels and long training; here losses are below 1.2 from the
# first steps on, when rare classes are still to be learned, and a photo is one square.
CAP = ["segmenter.noise.clip_start=0.2", "segmenter.noise.clip_patch=24"]
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "shipped": ("as shipped", []),
    "plain": ("no remedy", PLAIN),
    "photo": ("losses capped, each photo's map", [*PLAIN, *CAP, "segmenter.noise.clip=photo"]),
    "batch": ("losses capped, the batch's mean map (WeakTr)", [*PLAIN, *CAP, "segmenter.noise.clip=batch"]),
    "ignore": ("pixels of confidence below 0.2 left out", [*PLAIN, "segmenter.noise.ignore_below=0.2"]),
    "weigh": ("losses weighed by confidence (shipped)", [*PLAIN, "segmenter.noise.weigh=true"]),
    "ema": ("averaged weights (0.98)", [*PLAIN, "segmenter.noise.ema=0.98"]),
    "both": (
        "weighed by confidence, and averaged weights",
        [*PLAIN, "segmenter.noise.weigh=true", "segmenter.noise.ema=0.98"],
    ),
    "true": ("exact masks", []),
}
# How photos are segmented; `own` is what the recipe demo does.
TESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "single": ("one scale", {"scales": [1.0], "mirror": False, "crf": False}),
    "multi": ("two scales + mirror", {"crf": False}),
    "own": ("... + CRF, as shipped", {}),
}


def measure(runs: Path, work: Path, seed: int, variant: str) -> dict[str, Any]:
    """Train and score one segmenter."""
    home = runs / f"s{seed}"
    world = home / "world"
    labels = world / "SegmentationClass" if variant == "true" else home / "run" / "labels"
    recipe = load_recipe(RECIPE, [f"run.seed={seed}", *VARIANTS[variant][1]])
    context = Context(recipe, Source(world), work / f"s{seed}-{variant}")
    # The unseen photos lie in the same folder as the others: only those with label maps in `train` may teach.
    train = {item.id for item in open_dataset(world, split="train").items}
    chosen = link_maps(labels, train, context.out.with_name(f"{context.out.name}-labels"))
    pipeline.segmenter_of_folders(context, world / "JPEGImages", chosen, world / "classes.txt")
    manifest = read_json(context.folder(SEGMENTER) / pipeline.MANIFEST)
    return {
        "seed": seed,
        "variant": variant,
        "labels_miou": read_json(home / "run" / "scores" / SCORES)["labels"]["miou"],
        "val": score(context.folder(SEGMENTER) / MODEL, world),
        "seconds": manifest["seconds"],
        "iterations": recipe.segmenter.iterations,
    }


def score(model: Path, world: Path) -> dict[str, dict[str, float]]:
    """mIoU and boundary IoU, percent, on the unseen photos at each test-time setting."""
    dataset = open_dataset(world, split="val")
    evaluations = {name: evaluate(load(model, workers=0, **settings), dataset) for name, (_, settings) in TESTS.items()}
    return {
        name: {"miou": entry.scores.miou, "boundary_iou": entry.mean_boundary} for name, entry in evaluations.items()
    }


def link_maps(labels: Path, names: set[str], folder: Path) -> Path:
    """A folder with links to the label maps (and confidences) of `names`."""
    for below in (Path(), Path("confidence")):
        for name in sorted(names):
            source, target = labels / below / f"{name}.png", folder / below / f"{name}.png"
            if source.is_file() and not target.is_symlink():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source.resolve())
    return folder


# ------------------------------------------------------------------------------------------------------------ tables

Results = dict[tuple[int, str], dict[str, Any]]  # by seed and variant


def table(results: Results) -> str:
    """A row a world: the label maps on the training photos, the segmenters on unseen ones, and their ratio."""
    titles = [f"trained on them: {title}" for title, _ in TESTS.values()]
    rows = [
        f"| seed | label maps, training photos | {' | '.join(titles)} | trained on exact masks, as shipped | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    cells = []
    for seed in sorted(seed for seed, variant in results if variant == "shipped" and (seed, "true") in results):
        shipped, true = results[seed, "shipped"], results[seed, "true"]
        ratio = 100 * shipped["val"]["own"]["miou"] / true["val"]["own"]["miou"]
        mious = [shipped["val"][test]["miou"] for test in TESTS]
        cells.append([shipped["labels_miou"], *mious, true["val"]["own"]["miou"], ratio])
        rows.append(_row(str(seed), cells[-1]))
    if cells:
        rows.append(_row("mean", [statistics.mean(column) for column in zip(*cells, strict=True)]))
    return "\n".join(rows)


def _row(name: str, figures: list[float]) -> str:
    return f"| {name} | {' | '.join(f'{figure:.1f}' for figure in figures)} % |"


def remedies(results: Results) -> str:
    """A row a remedy, for the worlds where all of `plain` and others were measured."""
    rows = [
        f"| remedy | {' | '.join(title for title, _ in TESTS.values())} | boundary IoU, as shipped | seeds |",
        "|---|---|---|---|---|---|",
    ]
    seeds = [seed for seed, variant in sorted(results) if variant == "plain"]
    for variant, (title, _) in VARIANTS.items():
        runs = [results[seed, variant] for seed in seeds if (seed, variant) in results and variant != "true"]
        if runs:
            figures = [statistics.mean(entry["val"][test]["miou"] for entry in runs) for test in TESTS]
            figures.append(statistics.mean(entry["val"]["own"]["boundary_iou"] for entry in runs))
            names = " ".join(str(entry["seed"]) for entry in runs)
            rows.append(f"| {title} | {' | '.join(f'{figure:.1f}' for figure in figures)} | {names} |")
    return "\n".join(rows)


def stored() -> Results:
    """What was measured so far."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return {(entry["seed"], entry["variant"]): entry for entry in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("work/segmenter"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[321, 322, 323, 324, 325])
    parser.add_argument("--variants", nargs="*", default=["shipped", "true"], choices=list(VARIANTS))
    parser.add_argument("--table", action="store_true", help="print the tables of stored results and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        for seed in arguments.seeds:
            for variant in arguments.variants:
                path = RESULTS / f"s{seed}-{variant}.json"
                if not path.is_file():
                    write_json(path, measure(arguments.runs, arguments.work, seed, variant))
                print(path.read_text(encoding="utf-8"), flush=True)
    print(table(stored()), remedies(stored()), sep="\n\n")


if __name__ == "__main__":
    main()
