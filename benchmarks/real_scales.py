"""Do the CRF's and the superpixels' scales, chosen on drawn photos of 96 pixels, suit real ones of 320 and 400?

    OMP_NUM_THREADS=1 python benchmarks/real_scales.py --data DIR --work WORK --json F [--photos 100] [--half develop]

The recipe `folder-light` on a split as benchmarks/real.py draws them, its label maps by `regions+crf`, the threshold
the best of the CAMs by masks, so that scales alone differ; then one setting at a time is changed, and whatever depends
on it made anew. F gets the mIoU (0..1) of the label maps by setting. Settings that are in F already are not computed
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from real_split import share
from real_user import drawn_run
from semples.core.files import read_json, write_json
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context

COMMON = ("labels.method=regions+crf", "labels.select=ground-truth", "health.photos=0")
VARIANTS = (
    "as it is",
    "labels.method=crf", "labels.method=regions", "labels.method=threshold",
    "crf.srgb=4", "crf.srgb=16", "crf.sxy_bilateral=75", "crf.sxy_bilateral=300", "crf.sxy_gaussian=2.5",
    "crf.sxy_gaussian=10", "regions.scales=[15,50,150]", "regions.scales=[60,200,600]", "regions.max_side=400",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--half", choices=("develop", "report"), default="develop")
    parser.add_argument("--split", type=int, default=0)
    chosen = parser.parse_args()
    source, folder = drawn_run(chosen)
    made = read_json(chosen.json) if chosen.json.is_file() else {}
    for variant in VARIANTS:
        if variant in made:
            continue
        changes = [f"run.seed={chosen.split}", *COMMON, *([variant] if "=" in variant else [])]
        context = Context(load_recipe("folder-light", changes), source, folder)
        pipeline.run(context, steps=[step.name for step in pipeline.run_steps(context.recipe)])
        made[variant] = share(read_json(context.folder("scores") / "scores.json")["labels"]["miou"])
        write_json(chosen.json, made)
        print(variant, made[variant], flush=True)


if __name__ == "__main__":
    main()
