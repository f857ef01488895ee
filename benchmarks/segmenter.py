"""How good is the final segmenter on photos it has never seen, and what does each remedy against wrong labels bring?

For each demo run (`semples demo --out RUNS/s301 --seed 301` makes one) the segmenter of the recipe `demo` is trained on
the run's label maps, plain and with each remedy, and the same network on the exact masks; all are scored, without tags,
on the list `val`. A second call goes on where the first was cut.

    OMP_NUM_THREADS=1 python benchmarks/segmenter.py --runs RUNS --work work/segmenter --seeds 301 302 303
    python benchmarks/segmenter.py --table
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch

from semples import pipeline
from semples.data.dataset import open_dataset
from semples.files import read_json, write_json
from semples.recipe import load_recipe
from semples.segmenter.build import Segmenter
from semples.segmenter.evaluate import evaluate
from semples.steps.base import Context, Source
from semples.steps.segmenter import MODEL, NAME

RESULTS = Path(__file__).parent / "results" / "segmenter"
PLAIN = ["segmenter.noise.clip=no", "segmenter.noise.ema=0", "segmenter.noise.ignore_below=0"]
# The published 1.2 and 120 pixels are for photos of 512 pixels and long training; here losses are below 1.2 from the
# first steps on, when rare classes are still to be learned, and a photo is one square.
CAP = ["segmenter.noise.clip_start=0.2", "segmenter.noise.clip_patch=24"]
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "shipped": ("label maps, as shipped", []),
    "plain": ("label maps, no remedy", PLAIN),
    "photo": ("... losses capped, each photo's map", [*PLAIN, *CAP, "segmenter.noise.clip=photo"]),
    "batch": ("... losses capped, the batch's mean map (WeakTr)", [*PLAIN, *CAP, "segmenter.noise.clip=batch"]),
    "ema": ("... averaged weights (0.98)", [*PLAIN, "segmenter.noise.ema=0.98"]),
    "true": ("exact masks", []),
}


def measure(runs: Path, work: Path, seed: int, variant: str) -> dict[str, Any]:
    """Train and score one segmenter."""
    home = runs / f"s{seed}"
    world = home / "world"
    labels = world / "SegmentationClass" if variant == "true" else home / "run" / "labels"
    recipe = load_recipe("demo", [f"run.seed={seed}", *VARIANTS[variant][1]])
    context = Context(recipe, Source(world), work / f"s{seed}-{variant}")
    # The unseen photos lie in the same folder as the others: only those with label maps in `train` may teach.
    train = {item.id for item in open_dataset(world, split="train").items}
    chosen = link_maps(labels, train, context.out.with_name(f"{context.out.name}-labels"))
    pipeline.segmenter_of_folders(context, world / "JPEGImages", chosen, world / "classes.txt")
    segmenter = Segmenter.load(context.folder(NAME) / MODEL)
    found = {
        split: evaluate(segmenter, open_dataset(world, split=split), device=torch.device("cpu"))
        for split in ("val", "train")
    }
    manifest = read_json(context.folder(NAME) / pipeline.MANIFEST)
    return {
        "seed": seed,
        "variant": variant,
        "labels_miou": read_json(home / "summary.json")["labels"]["miou"] * 100,
        "val_miou": found["val"].scores.miou,
        "val_boundary_iou": found["val"].mean_boundary,
        "train_miou": found["train"].scores.miou,
        "seconds": manifest["seconds"],
        "iterations": recipe.segmenter.iterations,
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


def table(results: list[dict[str, Any]]) -> str:
    """Means over seeds; the last columns against the labels on train and the same network on exact masks."""
    rows = [
        "| trained on | photos unseen: mIoU | boundary IoU | training photos: mIoU | of exact masks | seeds |",
        "|---|---|---|---|---|---|",
    ]
    by = {name: {found["seed"]: found for found in results if found["variant"] == name} for name in VARIANTS}
    labels = {found["seed"]: found["labels_miou"] for found in results}
    rows.append(f"| (the label maps themselves) | | | {statistics.mean(labels.values()):.1f} | | {len(labels)} |")
    for name, (title, _) in VARIANTS.items():
        found = by[name]
        if not found:
            continue
        mean = {
            key: statistics.mean(entry[key] for entry in found.values())
            for key in ("val_miou", "val_boundary_iou", "train_miou")
        }
        shares = [found[s]["val_miou"] / by["true"][s]["val_miou"] for s in found if s in by["true"]]
        share = f"{100 * statistics.mean(shares):.0f} %" if shares else ""
        rows.append(
            f"| {title} | {mean['val_miou']:.1f} | {mean['val_boundary_iou']:.1f} | {mean['train_miou']:.1f} | {share} "
            f"| {' '.join(map(str, sorted(found)))} |"
        )
    return "\n".join(rows)


def stored() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--work", type=Path, default=Path("work/segmenter"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[301, 302, 303])
    parser.add_argument("--variants", nargs="*", default=["shipped", "plain", "true"], choices=list(VARIANTS))
    parser.add_argument("--table", action="store_true", help="print the table of stored results and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        for seed in arguments.seeds:
            for variant in arguments.variants:
                path = RESULTS / f"s{seed}-{variant}.json"
                if not path.is_file():
                    write_json(path, measure(arguments.runs, arguments.work, seed, variant))
                print(path.read_text(encoding="utf-8"), flush=True)
    print(table(stored()))


if __name__ == "__main__":
    main()
