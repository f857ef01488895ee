"""What the program says of a run of real photos without looking at a mask, against the truth.

    OMP_NUM_THREADS=1 python benchmarks/real_user.py --data DIR --work WORK --json F [--photos 200] [--half develop]
        [--split 0] [--segmenter] [--set KEY=VALUE]

The recipe `folder-light` as a user runs it, on a split as benchmarks/real.py draws them; DIR's masks are looked at for
the figures alone. F gets: the chosen `threshold` and the mIoU (0..1) of the label maps; `estimate`, the mIoU that the
program expects of them, if any; `verdicts` of every stage; `review`: of the list of photos most worth a look, the rank
correlation of certainty with wrong pixels, and which share of all wrong pixels lies in its first tenth, third and half
(chance: the same shares of the photos; perfect: where the order is by wrong pixels); `wrong_per_doubt`, what one unit
of doubt is in wrong pixels; `coverage`, wrong pixels of the surest photos, measured and as estimated.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from real_split import cpu_seconds, drawn, share
from semples.core.files import read_json, write_json
from semples.data.dataset import TaggedDataset, open_dataset
from semples.evaluation.selection import rank_correlation
from semples.inspect.review import Looked, coverage, look
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.health import verdicts
from semples.run.names import SEGMENTER, SELECTION, SELECTION_FILE

FIRST = (0.1, 1 / 3, 0.5)


def write_tags(photos: TaggedDataset, path: Path) -> Path:
    """The split's photos and tags as a table, paths from the dataset's root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        for item in photos.items:
            names = ";".join(photos.classes.names[tag] for tag in item.tags)
            writer.writerow([item.photo.relative_to(photos.root).as_posix(), names])
    return path


def drawn_run(chosen: argparse.Namespace) -> tuple[Source, Path]:
    """The split that the command line names, as a run's source, and the folder of that run."""
    split = drawn(
        open_dataset(chosen.data), half=chosen.half, split=chosen.split, count=chosen.photos, folder=chosen.work
    )
    tags = write_tags(split.photos, split.folder / "tags.csv")
    return Source(chosen.data, tags=tags, classes=chosen.data / "classes.txt"), split.folder / "run"


def share_found(seen: Sequence[Looked]) -> dict[str, Any]:
    """How much of what is wrong stands first in the review list, beside chance and the best order there is."""
    wrong = np.array([one.wrong for one in seen], np.float64)
    certain = np.array([one.certainty for one in seen])
    listed, best = np.argsort(certain, kind="stable"), np.argsort(-wrong, kind="stable")
    rows = {}
    for part in FIRST:
        count = round(part * len(seen))
        rows[f"{part:.2f}"] = {
            "list": round(float(wrong[listed[:count]].sum() / wrong.sum()), 4),
            "perfect": round(float(wrong[best[:count]].sum() / wrong.sum()), 4),
        }
    return {"rank_correlation": round(rank_correlation(certain.tolist(), wrong.tolist()), 4), "first": rows}


def measure(context: Context, *, segmenter: bool) -> dict[str, Any]:
    """Run what is missing, and compare."""
    begin = cpu_seconds()
    steps = [step.name for step in pipeline.run_steps(context.recipe)]
    pipeline.run(context, steps=[*steps, *([SEGMENTER] if segmenter else [])])
    used = cpu_seconds() - begin
    selection = read_json(context.folder(SELECTION) / SELECTION_FILE)
    labels = read_json(context.folder("scores") / "scores.json")["labels"]
    seen = [one for one in look(context) if one.wrong is not None]
    bare = [Looked(one.item, one.certainty, one.doubt, one.missing) for one in seen]
    told = verdicts(pipeline.status(context))
    return {
        "photos": len(seen),
        "miou": share(labels["miou"]),
        "threshold": selection["threshold"],
        "estimate": selection["quality"],
        "verdicts": {name: {"grade": one["grade"], "why": one["why"]} for name, one in told.items()},
        "review": share_found(seen),
        "wrong_per_doubt": round(sum(one.wrong or 0.0 for one in seen) / sum(one.doubt for one in seen), 4),
        "coverage": {"measured": coverage(context, seen)["rows"], "estimated": coverage(context, bare)["rows"]},
        "cpu_seconds": round(used, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--half", choices=("develop", "report"), default="develop")
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--segmenter", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    chosen = parser.parse_args()
    recipe = load_recipe("folder-light", [f"run.seed={chosen.split}", *chosen.set])
    figures = measure(Context(recipe, *drawn_run(chosen)), segmenter=chosen.segmenter)
    write_json(chosen.json, {"half": chosen.half, "split": chosen.split, "settings": chosen.set, **figures})
    print(read_json(chosen.json))


if __name__ == "__main__":
    main()
