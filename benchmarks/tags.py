"""How many of the tags that `semples data check RUN` lists first are wrong; what wrong tags and negatives cost.

`precision`: the tags of drawn photos (`semples demo --out DEMOS/s0 --seed 0` leaves some) are made worse: a share of
the tags that are there goes missing, or as many are added where they are wrong. Of the first 5 % of the list (of photos
times classes) the share that was changed is given, beside chance. `miou`: the demo's label maps by such tags. `turned`:
the same with `data.turn_tags=0.8`, which turns over what the other photos contradict (0.8 was chosen on seeds 0, 331
and 332 by counting tags, before any label map was made).
`negative`: the demo's run with N more photos of backgrounds without a thing, at p 0.9 and 0.99. Cells that have a
result are skipped.

    OMP_NUM_THREADS=1 python benchmarks/tags.py precision --demos DEMOS --seeds 0 1 2
    OMP_NUM_THREADS=1 python benchmarks/tags.py miou --work work/tags --seeds 0 1 2
    OMP_NUM_THREADS=1 python benchmarks/tags.py turned --work work/tags --seeds 0 1 2
    OMP_NUM_THREADS=1 python benchmarks/tags.py negative --work work/tags --seeds 0 1 2
    python benchmarks/tags.py table
"""

from __future__ import annotations

import argparse
import csv
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.files import read_json, write_json
from semples.data.dataset import open_dataset
from semples.data.demo.world import DemoWorld, write_world
from semples.demo import score_segmenter
from semples.evaluation.tagging import doubts, foretold
from semples.inspect.tag_check import TagCheck
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.names import SEGMENTER
from semples.run.steps.labels import SCORES

RESULTS = Path(__file__).parent / "results" / "tags"
SHARES = (0.0, 0.1, 0.2)
KINDS = ("missing", "wrong")
CELLS = [("none", 0.0), *((kind, share) for kind in KINDS for share in SHARES[1:])]
FIRST = 0.05
PHOTOS = 300
SEGMENT = False  # the label maps answer the question; the segmenter would take a third more time
TURN = 0.8
NEGATIVES = (0, 10, 30, 100)
STRENGTHS = (0.9, 0.99)


def worsened(tag_nK: NDArray[np.bool_], *, kind: str, share: float, seed: int) -> NDArray[np.bool_]:
    """Tags of which a share is missing, or to which as many are added where they are wrong."""
    random = np.random.default_rng((seed, KINDS.index(kind) if kind in KINDS else 9))
    changed = tag_nK.copy()
    places = np.argwhere(tag_nK if kind == "missing" else ~tag_nK)
    chosen = places[random.permutation(len(places))[: round(share * int(tag_nK.sum()))]]
    changed[chosen[:, 0], chosen[:, 1]] ^= True
    return changed


def precision(check: TagCheck, *, seed: int, kind: str, share: float) -> dict[str, Any]:
    """Of the first tags of the list the share that was changed; and of all tags, what chance would find."""
    worse = worsened(check.tag_nK, kind=kind, share=share, seed=seed)
    changed = worse != check.tag_nK
    listed = doubts(foretold(check.feature_nD, worse).left_out_nK, worse)[: round(FIRST * worse.size)]
    hits = [bool(changed[row, column]) for row, column, _ in listed]
    return {
        "seed": seed, "kind": kind, "share": share, "listed": len(hits), "changed": int(changed.sum()),
        "precision": round(float(np.mean(hits)), 4), "recall": round(sum(hits) / max(1, int(changed.sum())), 4),
        "chance": round(float(changed.mean()), 4),
    }  # fmt: skip


def rewrite_tags(world: Path, tags: Path, *, kind: str, share: float, seed: int) -> Path:
    """A tags file of the training photos of a world with worse tags, beside its masks."""
    dataset = open_dataset(world, split="train")
    table = np.zeros((len(dataset.items), len(dataset.classes)), np.bool_)
    for row, item in zip(table, dataset.items, strict=True):
        row[list(item.tags)] = True
    worse, names = worsened(table, kind=kind, share=share, seed=seed), dataset.classes.names
    tags.parent.mkdir(parents=True, exist_ok=True)
    with open(tags, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        for row, item in zip(worse, dataset.items, strict=True):
            shown = [name for name, here in zip(names, row, strict=True) if here]
            writer.writerow([item.photo.relative_to(world).as_posix(), ";".join(shown)])
    return tags


def whole_run(context: Context, *, folder: Path) -> dict[str, Any]:
    """mIoU (0..1) of label maps, and of the segmenter where SEGMENT says so."""
    pipeline.run(context, steps=[*(step.name for step in pipeline.run_steps(context.recipe)), *([SEGMENTER] * SEGMENT)])
    labels = {"labels": round(read_json(context.folder("scores") / SCORES)["labels"]["miou"] / 100, 6)}
    return labels | ({"segmenter": score_segmenter(context, folder / "confusion.png")["miou"]} if SEGMENT else {})


def miou(work: Path, *, seed: int, kind: str, share: float, turn: float = 0.0) -> dict[str, Any]:
    """The demo on worse tags. turn: from which probability on contradicted tags are turned over; 0: never."""
    folder = work / (f"s{seed}-{kind}-{share:g}" + ("-turned" if turn else ""))
    world = folder / "world"
    if not (world / "world.json").is_file():
        write_world(world, photos={"train": PHOTOS, "val": 100}, seed=seed, p=0.9, class_count=8, resolution=96)
    tags = rewrite_tags(world, folder / "tags.csv", kind=kind, share=share, seed=seed)
    recipe = load_recipe("demo", [f"run.seed={seed}", f"data.turn_tags={turn:g}"])
    figures = whole_run(
        Context(recipe, Source(world, tags=tags, classes=world / "classes.txt"), folder / "run"), folder=folder
    )
    return {"seed": seed, "kind": kind, "share": share} | figures


def negative(work: Path, *, seed: int, p: float, count: int) -> dict[str, Any]:
    """The demo's world with `count` more photos of backgrounds alone, of another world of the same kind."""
    folder = work / f"s{seed}-negative{count}-p{p:g}"
    world = folder / "world"
    if not (world / "world.json").is_file():
        write_world(world, photos={"train": PHOTOS, "val": 100}, seed=seed, p=p, class_count=8, resolution=96)
        add_backgrounds(world, count=count, seed=seed + 1000, p=p)
    recipe = load_recipe("demo", [f"run.seed={seed}"])
    figures = whole_run(Context(recipe, Source(world), folder / "run"), folder=folder)
    return {"seed": seed, "p": p, "negatives": count} | figures


def add_backgrounds(world: Path, *, count: int, seed: int, p: float) -> None:
    """Photos of another world without their things join the list `train`: the rails without the train."""
    drawn = DemoWorld(seed=seed, family="train", p=p, class_count=8, resolution=96)
    with open(next(world.rglob("train.txt")), "a", encoding="utf-8") as file:
        for number in range(count):
            name = f"negative_{number:04d}"
            scene = drawn.render(replace(drawn.layout(number), things=()), number)
            Image.fromarray(scene.photo).save(world / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
            text = f"<annotation><filename>{name}.jpg</filename></annotation>\n"
            (world / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
            file.write(f"{name}\n")


def table() -> str:
    """Means over seeds of the precision cells."""
    cells = [read_json(path) for path in sorted(RESULTS.glob("precision-*.json"))]
    lines = ["| tags | changed | of the first 5 % | chance | found | seeds |", "|---|---|---|---|---|---|"]
    for kind, share in CELLS[1:]:
        rows = [cell for cell in cells if (cell["kind"], cell["share"]) == (kind, share)]
        if rows:
            keys = ("precision", "chance", "recall")
            mean = {key: statistics.mean(cell[key] for cell in rows) for key in keys}
            told = f"{mean['precision']:.0%} | {mean['chance']:.1%} | {mean['recall']:.0%}"
            lines.append(f"| {kind} | {share:.0%} | {told} | {len(rows)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure the missing cells, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["precision", "miou", "turned", "negative", "table"])
    parser.add_argument("--demos", type=Path, help="folder with the demo folders s0, s1, ...")
    parser.add_argument("--work", type=Path, default=Path("work/tags"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if options.what == "table":
        print(table())
        return
    for seed in options.seeds:
        if options.what == "negative":
            for p in STRENGTHS:
                for count in NEGATIVES:
                    place = RESULTS / f"negative-s{seed}-{count}-p{p:g}.json"
                    if not place.is_file():
                        write_json(place, negative(options.work, seed=seed, p=p, count=count))
            continue
        check = None
        for kind, share in CELLS:
            place = RESULTS / f"{options.what}-s{seed}-{kind}-{share:g}.json"
            if place.is_file():
                continue
            if options.what in ("miou", "turned"):
                turn = TURN if options.what == "turned" else 0.0
                write_json(place, miou(options.work, seed=seed, kind=kind, share=share, turn=turn))
                continue
            if check is None:
                home = options.demos / f"s{seed}"
                recipe = load_recipe("demo", [f"run.seed={seed}"])
                check = TagCheck(Context(recipe, Source(home / "world"), home / "run"))
            write_json(place, precision(check, seed=seed, kind=kind, share=share))


if __name__ == "__main__":
    main()
