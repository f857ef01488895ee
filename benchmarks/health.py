"""Verdicts on broken and on healthy stages, on drawn worlds with exact truth.

A world of 64 photos of 5 classes (p 0.9) is trained by the recipe demo (a healthy chain: warm-up, (a), (b), (c), CAMs,
label maps, segmenter); then one stage at a time is broken on purpose and trained again from the same earlier state: a
rate of 0, 100 times the rate (seed 102: 10,000 times), tags dealt to photos at random, wrong words for the
classes, and a CLIP of noise. Every cell holds all verdicts with their figures
and, beside them, the truth that no verdict sees: mIoU of the CAMs at their best threshold, the segmenter's mIoU on
unseen photos, and for how many classes the own background's word comes first.

    python benchmarks/health.py run --seeds 0 100 101 102 [--work DIR] [--cells healthy matching-0 ...]
    python benchmarks/health.py show

Each cell is a JSON file in benchmarks/results/health; finished cells are skipped, and with --work so is every stage
that is there. The thresholds of the verdicts were chosen on seed 0 (the segmenter's on no world at all), when the
recipe was another (recipes/demo-0e5ccf8.yaml), the mark of `cams.from=best` on 0 to 2; from 100 on they are tested.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from semples import demo
from semples.core.errors import Stopped, UserError
from semples.core.files import read_json, write_json
from semples.data.dataset import open_dataset
from semples.evaluation.verdicts import quality
from semples.inspect.words import nearest_words
from semples.judges.words import DEMO_CLIP, words_of
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.health import verdicts
from semples.run.names import CURVE_FILE, SEGMENTER, curve_name

RESULTS = Path(__file__).parent / "results" / "health"
DEVELOPMENT = (0, 1, 2)  # seeds that thresholds and the mark of stages were chosen on
FAR_TOO_HIGH = (102,)  # seeds on which rates are 10,000 times too high, not 100
QUICK = (
    "cams.scales=[1.0]", "run.log_every=50", "labels.method=threshold", "labels.select=fixed", "labels.threshold=0.35",
)  # fmt: skip
CHAIN = ("warmup", "matching", "prompting", "refinement")
WRONG = ("water", "snow", "brick", "wood", "tiles")
APART = 2.0  # points of mIoU below which two stages count as alike
CAM_STAGES = ("warmup", "matching", "refinement")


@dataclass(frozen=True)
class Cell:
    """One stage broken in one way. keeps: what is taken from the healthy run; steps: what is made anew."""

    breaks: str  # which look should tell
    keeps: tuple[str, ...]
    steps: tuple[str, ...]
    changes: tuple[str, ...] = ()
    times: float = 0.0  # of the healthy rate, 0: as `changes` say


def cells(factor: float) -> dict[str, Cell]:
    """Every cell of a seed; `factor`: of a rate that is too high."""
    maps = [f"cams-{stage}" for stage in CAM_STAGES[:-1]]
    made = {"healthy": Cell("", (), ("data", *CHAIN, *maps, "cams"))}
    for place, stage in enumerate(CHAIN):
        keeps = (*CHAIN[:place], *(f"health-{of}" for of in ("data", *CHAIN[:place])))
        shown = {"matching": ("cams-matching",), "refinement": ("cams",)}.get(stage, ())
        made[f"{stage}-0"] = Cell(stage, keeps, ("data", stage), (f"{stage}.lr=0", f"{stage}.steps=5"))
        made[f"{stage}-high"] = Cell(stage, keeps, ("data", stage, *shown), times=factor)
    made["healthy-segmenter"] = Cell("", (*CHAIN, "cams", "health-data"), ("data", "labels", SEGMENTER))
    for name, changes, times in (
        ("0", ("segmenter.lr=0", "segmenter.iterations=1"), 0.0),
        ("high", (), factor),
    ):
        made[f"segmenter-{name}"] = Cell(SEGMENTER, (*CHAIN, "cams"), ("data", "labels", SEGMENTER), changes, times)
    made["shuffled"] = Cell("data", (), ("data", "warmup"))
    made["wrong-words"] = Cell("data", (), ("data",))
    made["noise"] = Cell("data", (), ("data",))
    return made


def run_cell(name: str, cell: Cell, *, seed: int, place: Path) -> dict[str, Any]:
    """Verdicts and truth of one cell; the healthy run of the seed is there."""
    world = demo.draw_world(place, demo.DemoSettings(photos=64, classes=5, seed=seed))
    changes = [f"run.seed={seed}", *QUICK, *cell.changes]
    if cell.times:
        changes.append(faster(cell.breaks, cell.times))
    if name == "noise":
        changes.append(f"judge.model={noise_clip(place.parent / 'noise')}")
    source = Source(world, *special_files(name, world, place, seed=seed))
    for kept in cell.keeps:
        healthy, copied = place / "healthy" / kept, place / name / kept
        if not copied.is_dir():
            shutil.copytree(healthy, copied)
    context = Context(load_recipe("demo", changes), source, place / name)
    start, ended = time.process_time(), ""
    try:
        pipeline.run(context, steps=pipeline.looked_after(context, cell.steps))
    except Stopped:
        raise
    except UserError as error:
        ended = str(error)  # a stage that stops by itself needs no verdict
    grades = verdicts(pipeline.status(context))
    return {
        "seed": seed, "cell": name, "breaks": cell.breaks, "ended": ended, "verdicts": grades,
        "truth": truth(context), "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def faster(stage: str, factor: float) -> str:
    """The setting that multiplies a stage's learning rate."""
    settings = getattr(load_recipe("demo"), stage)
    return f"{stage}.lr={min(1000.0, settings.lr * factor):g}"


def special_files(name: str, world: Path, place: Path, *, seed: int) -> tuple[Path | None, Path | None]:
    """Files of tags and of classes in place of the world's."""
    dataset = open_dataset(world, split="train")
    if name == "shuffled":
        tags = [[dataset.classes.names[k] for k in item.tags] for item in dataset.items]
        random.Random(seed).shuffle(tags)
        write_json(
            place / "shuffled.json", {item.id: shuffled for item, shuffled in zip(dataset.items, tags, strict=True)}
        )
        return place / "shuffled.json", None
    if name == "wrong-words":
        lines = [f"{name},{word}\n" for name, word in zip(dataset.classes.names, WRONG, strict=True)]
        (place / "wrong.txt").write_text("".join(lines), encoding="utf-8")
        return None, place / "wrong.txt"
    return None, None


def noise_clip(folder: Path) -> Path:
    """The shipped CLIP's folder with random weights."""
    if not (folder / "model.safetensors").is_file():
        from transformers import CLIPConfig, CLIPModel

        shipped = Path(str(resources.files("semples"))) / "assets" / "demo_clip"
        shutil.copytree(shipped, folder, dirs_exist_ok=True)
        torch.manual_seed(0)
        CLIPModel(CLIPConfig.from_pretrained(shipped)).save_pretrained(folder)
    return folder


def truth(context: Context) -> dict[str, Any]:
    """What pixel masks say of what is there."""
    made: dict[str, Any] = {}
    for stage in CAM_STAGES:
        name = "cams" if stage == "refinement" else f"cams-{stage}"
        if (context.folder(name) / "manifest.json").is_file():
            pipeline.run(context, steps=["data", curve_name(stage)])
            made[stage] = read_json(context.folder(curve_name(stage)) / CURVE_FILE)["best"]["miou"]
    if (context.folder("prompting") / "manifest.json").is_file():
        grounds = read_json(context.dataset.root / "world.json")["own_background"]
        words = words_of(DEMO_CLIP)
        nearest = nearest_words(context, words=words, count=1)
        made["words_first"] = sum(entries[0]["word"] == grounds[name] for name, entries in nearest.items())
    if (context.folder(SEGMENTER) / "manifest.json").is_file():
        made[SEGMENTER] = 100 * demo.score_segmenter(context, context.out / demo.CONFUSION)["miou"]
    return made


# -------------------------------------------------------------------------------------------------------------- show


def show(rows: Iterable[dict[str, Any]]) -> None:
    """Hits, false alarms, and how often the steadiest masks are the best."""
    rows = sorted(rows, key=lambda row: (row["seed"], row["cell"]))
    for title, part in (
        ("development seeds", [row for row in rows if row["seed"] in DEVELOPMENT]),
        ("test seeds", [row for row in rows if row["seed"] not in DEVELOPMENT]),
    ):
        print(f"\n{title}: {sorted({row['seed'] for row in part})}\n")
        print("| seed | cell | broken stage's verdict | truth |\n|---|---|---|---|")
        for row in part:
            if row["breaks"]:
                grade = (
                    "stopped by itself" if row["ended"] else row["verdicts"].get(row["breaks"], {}).get("grade", "-")
                )
                print(f"| {row['seed']} | {row['cell']} | {grade} | {_shown(row['truth'])} |")
        broken = [row for row in part if row["breaks"]]
        hits = [row for row in broken if row["ended"] or row["verdicts"][row["breaks"]]["grade"] != "good"]
        whole = [verdict for row in part if not row["breaks"] for verdict in row["verdicts"].values()]
        alarms = [verdict for verdict in whole if verdict["grade"] != "good"]
        print(f"\nbroken on purpose: {len(hits)} of {len(broken)} found; ", end="")
        print(f"healthy: {len(alarms)} false alarms of {len(whole)} verdicts")
        ordered, pairs = ranked(part)
        print(f"of {pairs} pairs of a seed's stages whose mIoU differs by more than {APART} points, {ordered} are "
              "ordered by the mark of `cams.from=best` as by their masks")  # fmt: skip
        healthy = {row["seed"]: row["truth"] for row in part if row["cell"] == "healthy"}
        for row in part:
            best = row["verdicts"].get("refinement", {}).get("figures", {}).get("best")
            truths = {**healthy.get(row["seed"], {}), **row["truth"]}
            if best and all(stage in truths for stage in CAM_STAGES):
                lost = max(truths[stage] for stage in CAM_STAGES) - truths[best]
                print(f"seed {row['seed']}, {row['cell']}: `cams.from=best` takes {best}, {lost:.1f} points below the "
                      f"best stage; {_shown({stage: truths[stage] for stage in CAM_STAGES})}")  # fmt: skip


def ranked(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Of all pairs of a seed's trained generators whose mIoU differs: how many the mark orders rightly, and how many
    there are."""
    ordered = pairs = 0
    for seed in {row["seed"] for row in rows}:
        known = {
            (stage, row["truth"][stage]): quality(row["verdicts"][stage]["figures"])
            for row in rows
            for stage in CAM_STAGES
            if row["seed"] == seed and stage in row["truth"] and stage in row["verdicts"]
        }
        for ((_, first), one), ((_, second), other) in itertools.combinations(known.items(), 2):
            if abs(first - second) > APART:
                pairs += 1
                ordered += (first > second) == (one > other)
    return ordered, pairs


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.1f}" for key, value in values.items())


def main() -> None:
    """Run or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 100, 101, 102])
    parser.add_argument("--cells", nargs="+")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.what == "show":
        show([json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")])
        return
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            place = (options.work or Path(temporary)) / f"s{seed}"
            for name, cell in cells(10_000.0 if seed in FAR_TOO_HIGH else 100.0).items():
                path = RESULTS / f"{seed}-{name}.json"
                if path.is_file() or name not in (options.cells or [name]):
                    continue
                write_json(path, run_cell(name, cell, seed=seed, place=place))
                print(path.name, flush=True)


if __name__ == "__main__":
    main()
