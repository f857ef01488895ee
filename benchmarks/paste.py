"""What things of other photos, pasted in front of the segmenter's training views, bring on photos that no stage saw.

    OMP_NUM_THREADS=1 python benchmarks/paste.py run --runs RUNS --work WORK --seeds 332 334 335 [--variants none whole]
    python benchmarks/paste.py show

RUNS/s332 is the folder of `semples demo --seed 332` (benchmarks/selftraining.py leaves such ones, with the maps of its
second round in `relabelled`). The recipe `demo`; `none` is without pasting, `half` and `whole` paste onto half of the
views and onto all. Seeds 0, 331 and 333 are for choosing. A finished cell is a file in benchmarks/results/paste.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from segmenter import link_maps
from semples.core.files import read_json, write_json
from semples.data.dataset import open_dataset
from semples.prediction import load
from semples.prediction.evaluate import evaluate
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.names import MODEL, SEGMENTER

RESULTS = Path(__file__).parent / "results" / "paste"
PASTE = "segmenter.augment.paste"
VARIANTS: dict[str, tuple[list[str], str]] = {  # settings, and where the label maps lie
    "none": ([f"{PASTE}=0"], "run/labels"),
    "half": ([f"{PASTE}=0.5"], "run/labels"),
    "whole": ([f"{PASTE}=1"], "run/labels"),
    "whole-600": ([f"{PASTE}=1", "segmenter.iterations=600"], "run/labels"),
    "whole-relabelled": ([f"{PASTE}=1"], "relabelled"),
}


def measure(home: Path, work: Path, seed: int, variant: str) -> dict[str, Any]:
    """Train and score one segmenter: mIoU in percent, processor seconds of both."""
    changes, labels = VARIANTS[variant]
    world, begin = home / "world", time.process_time()
    context = Context(load_recipe("demo", [f"run.seed={seed}", *changes]), Source(world), work / f"s{seed}-{variant}")
    train = {item.id for item in open_dataset(world, split="train").items}
    maps = link_maps(home / labels, train, work / f"s{seed}-{variant}-labels")
    pipeline.segmenter_of_folders(context, world / "JPEGImages", maps, world / "classes.txt")
    scores = evaluate(load(context.folder(SEGMENTER) / MODEL, workers=0), open_dataset(world, split="val")).scores
    seconds = round(time.process_time() - begin, 1)
    return {"seed": seed, "variant": variant, "segmenter": round(scores.miou, 2), "cpu_seconds": seconds}


def main() -> None:
    """Measure the missing cells, or show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work/paste"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=["none", "whole"])
    chosen = parser.parse_args()
    if chosen.what == "run":
        for seed in chosen.seeds:
            for variant in chosen.variants:
                place = RESULTS / f"s{seed}-{variant}.json"
                if not place.is_file():
                    write_json(place, measure(chosen.runs / f"s{seed}", chosen.work, seed, variant))
    for row in sorted(map(read_json, RESULTS.glob("*.json")), key=lambda row: (row["seed"], row["variant"])):
        print(f"s{row['seed']} {row['variant']}: {row['segmenter']:.1f} in {row['cpu_seconds']:.0f} s")


if __name__ == "__main__":
    main()
