"""What mask generators, the last block of CLIP and affinities bring: generator x stage, on drawn worlds.

A cell is one variant on one drawn world: mIoU of the CAMs after every stage at their best threshold, and of the label
maps of the recipe `demo` (threshold from photos and tags alone), with the time of every step. Seeds 0 to 2 are for
choosing; figures that are reported come from others.

    OMP_NUM_THREADS=1 python benchmarks/methods.py run --work WORK --seeds 0 1 [--variants clip-vv] [--photos N]
    python benchmarks/methods.py show
    python benchmarks/methods.py pictures --work WORK --seed 0 --out rows.png

Every finished cell is a JSON file in benchmarks/results/methods; a second call goes on where the first was cut.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semples import demo
from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.core.palette import colour, read_label_png
from semples.labels.threshold import winner_map
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.names import CURVE_FILE, cams_name, curve_name
from semples.run.records import read_manifest
from semples.run.steps.labels import SCORES

RESULTS = Path(__file__).parent / "results" / "methods"
START = "generator.start=shipped:demo_vit"
VIEW = "generator.image_size=96"
LIST = ["generator.kind=clip", "generator.start=shipped:demo_clip"]
# The tiny CLIP knows few words: the grounds of the drawn world.
CLIP = [*LIST, "generator.backgrounds=rails,water,sky,grass,road,sand,snow,leaves,brick,wood,tiles,plain"]
VARIANTS: dict[str, tuple[str, list[str]]] = {
    "weaktr": ("WeakTr, the recipe demo", []),
    "vit-cam": ("plain ViT, classifier on frozen patches", ["generator.kind=vit-cam", START, VIEW]),
    "vit-cam-all": (
        "plain ViT, all of it learns in the warm-up",
        ["generator.kind=vit-cam", START, VIEW, "generator.learns=all"],
    ),
    "mctformer": ("MCTformer", ["generator.kind=mctformer", START, VIEW]),
    "clip-qk": ("CLIP's patches as they are", [*CLIP, "generator.attention=qk", "generator.feed_forward=true"]),
    "clip-vv": ("CLIP's patches, values among themselves", CLIP),
    "clip-kk": ("CLIP's patches, keys among themselves", [*CLIP, "generator.attention=kk"]),
    "clip-qq": ("CLIP's patches, queries among themselves", [*CLIP, "generator.attention=qq"]),
    "clip-list": ("as clip-vv, CLIP-ES's list of background texts, which the tiny CLIP hardly knows", LIST),
    "clip-clusters": ("as clip-vv, within clusters of patches", [*CLIP, "generator.scope=clusters"]),
    "clip-superpixels": (
        "as clip-vv, within superpixels, their mean in the end",
        [*CLIP, "generator.scope=superpixels", "generator.scope_mean=true"],
    ),
    "clip-gradient": ("CLIP by gradient (CLIP-ES)", [*CLIP, "generator.mode=gradient"]),
}
AFFINITIES: dict[str, tuple[str, list[str]]] = {
    "attention": ("along the generator's attention, in boxes (CLIP-ES)", ["power=2"]),
    "classes": ("by class distribution", ["power=1", "kind=class-distribution"]),
    "classes-prompts": (
        "by class distribution, learned prompts too",
        ["power=1", "kind=class-distribution", "prompts=true"],
    ),
    "classes-superpixels": (
        "by class distribution, within superpixels",
        ["power=1", "kind=class-distribution", "superpixels=100"],
    ),
}
STAGES = ("warmup", "matching", "refinement")


def context_of(work: Path, seed: int, name: str, changes: Sequence[str], *, photos: int) -> Context:
    """The run of a variant on a drawn world."""
    world = demo.draw_world(work / f"s{seed}", demo.DemoSettings(photos=photos, seed=seed))
    recipe = load_recipe("demo", [f"run.seed={seed}", "data.workers=0", *changes])
    return Context(recipe, Source(world), work / f"s{seed}" / name)


def measure(context: Context, *, labels: bool) -> dict[str, Any]:
    """All figures of a cell; without `labels` those of the CAMs alone."""
    trained = type(context.recipe.generator).TRAINABLE
    left_out = () if labels else ("regions", "selection", "labels", "scores")
    pipeline.run(context, steps=[name for name in demo.all_steps(context.recipe) if name not in left_out])
    stages = STAGES if trained else STAGES[-1:]
    cams = {}
    for stage in stages:
        best = read_json(context.folder(curve_name(stage)) / CURVE_FILE)["best"]
        cams[stage if trained else "untrained"] = {"miou": best["miou"], "threshold": best["threshold"]}
    made = read_json(context.folder("scores") / SCORES)["labels"] if labels else None
    seconds = {
        step.name: manifest["seconds"]
        for step in pipeline.known_steps().values()
        if (manifest := read_manifest(context.folder(step.name))) is not None
    }
    return {
        "photos": len(context.dataset.items),
        "cams": cams,
        "labels": None if made is None else {"miou": made["miou"], "threshold": made["threshold"]},
        "seconds": seconds,
    }


def run(work: Path, seeds: Sequence[int], names: Sequence[str], *, photos: int, labels: bool) -> None:
    """Every cell that has no file yet."""
    for seed in seeds:
        for name in names:
            path = RESULTS / f"{name}-s{seed}-n{photos}{'' if labels else '-cams'}.json"
            if path.is_file():
                continue
            generator, _, affinity = name.partition("+")
            changes = list(VARIANTS[generator][1])
            if affinity:
                changes += [f"cams.affinity.{entry}" for entry in AFFINITIES[affinity][1]]
            figures = measure(context_of(work, seed, name, changes, photos=photos), labels=labels)
            write_json(path, {"variant": name, "seed": seed, **figures})
            print(f"{path.name}: {figures['cams']}, label maps {figures['labels']}", flush=True)


def show() -> None:
    """A Markdown table: means over the worlds that a variant was measured on."""
    cells = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    print("| variant | what it is | worlds (photos) | CAMs: warm-up | (a) | (c) | untrained | label maps | seconds |")
    print("|---|---|---|" + "--:|" * 6)
    for name in dict.fromkeys(cell["variant"] for cell in cells):
        mine = [cell for cell in cells if cell["variant"] == name]
        generator, _, affinity = name.partition("+")
        about = VARIANTS[generator][0] + (f"; {AFFINITIES[affinity][0]}" if affinity else "")
        worlds = ", ".join(f"{cell['seed']} ({cell['photos']})" for cell in mine)
        columns = [
            _mean([cell["cams"].get(stage, {}).get("miou") for cell in mine]) for stage in (*STAGES, "untrained")
        ]
        columns.append(_mean([cell["labels"] and cell["labels"]["miou"] for cell in mine]))
        seconds = statistics.fmean(sum(cell["seconds"].values()) for cell in mine)
        print(f"| {name} | {about} | {worlds} | {' | '.join(columns)} | {seconds:.0f} |")


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.1f}" if known else ""


def pictures(work: Path, seed: int, out: Path, *, photos: int, count: int = 12) -> None:
    """A row of photos, then for every variant measured on this world a row of final CAMs, and one of label maps
    where there are any."""
    rows: list[np.ndarray] = []
    for path in sorted(RESULTS.glob(f"*-s{seed}-n{photos}*.json")):
        name = read_json(path)["variant"]
        context = pipeline.open_run(work / f"s{seed}" / name)
        items = [item for item in context.scored_dataset.items if item.tags][:count]
        shown = [context.dataset.photo(item) for item in items]
        if not rows:
            rows.append(demo.stack(shown, axis=1))
        store = CamStore(context.folder(cams_name()))
        heats = [
            demo.overlay(p, winner_map(store.read(i.id), p.shape[:2])[1]) for i, p in zip(items, shown, strict=True)
        ]
        rows.append(demo.stack(heats, axis=1))
        places = [context.folder("labels") / f"{item.id}.png" for item in items]
        if all(place.is_file() for place in places):
            rows.append(demo.stack([colour(read_label_png(place)) for place in places], axis=1))
        print(f"to row {len(rows)}: {name}")
    demo.save_picture(demo.stack(rows, axis=0), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running, drawing = commands.add_parser("run"), commands.add_parser("pictures")
    commands.add_parser("show")
    for one in (running, drawing):
        one.add_argument("--work", type=Path, required=True)
        one.add_argument("--photos", type=int, default=300)
    running.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    running.add_argument("--cams", action="store_true", help="no label maps")
    running.add_argument("--variants", nargs="+", default=list(VARIANTS))
    drawing.add_argument("--seed", type=int, default=0)
    drawing.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    if chosen.command == "run":
        run(chosen.work, chosen.seeds, chosen.variants, photos=chosen.photos, labels=not chosen.cams)
    elif chosen.command == "show":
        show()
    else:
        pictures(chosen.work, chosen.seed, chosen.out, photos=chosen.photos)


if __name__ == "__main__":
    main()
