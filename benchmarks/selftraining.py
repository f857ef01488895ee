"""What a second round brings: the segmenter labels its own training photos, held to their tags, and the next learns.

    OMP_NUM_THREADS=1 python benchmarks/selftraining.py run --work WORK --seeds 351 352 353 354 355
    python benchmarks/selftraining.py show

For each drawn world (p 0.9): the recipe `demo` to its segmenter, `relabel`, and a second segmenter of the same settings
on the label maps that this made. Beside it, on the same world, the demo's recipe of 0e5ccf8. Figures: mIoU of the label
maps on the training photos, of the segmenters on the photos that no stage saw, and the processor seconds of each.
Every finished world is a JSON file in benchmarks/results/selftraining.
Seed 0 was looked at while this was written; 331 to 335 and 351 to 355 are for the report.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from folder import MODELS, OLD
from segmenter import link_maps
from semples import demo
from semples.core.files import read_json, write_json
from semples.data.dataset import open_dataset
from semples.inspect.comparison import interval
from semples.prediction import load
from semples.prediction.evaluate import evaluate
from semples.prediction.relabel import DEFAULT, relabel_run
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.names import MODEL, SEGMENTER

RESULTS = Path(__file__).parent / "results" / "selftraining"
PASTING = 351  # worlds from this on were measured since the recipe's segmenter learns with things pasted in


def measure(work: Path, seed: int) -> dict[str, Any]:
    """All figures of one world; what was done before is taken up."""
    home = work / f"s{seed}"
    begin = seconds()
    summary = demo.run_demo(home, demo.DemoSettings(seed=seed))
    first = seconds() - begin
    world, context = home / demo.WORLD, pipeline.open_run(home / "run")
    begin = seconds()
    _, scores = relabel_run(context, context.out / DEFAULT, workers=0)
    assert scores is not None
    train = {item.id for item in open_dataset(world, split="train").items}
    labels = link_maps(context.out / DEFAULT, train, home / "relabelled")
    second = Context(load_recipe("demo", [f"run.seed={seed}"]), Source(world), home / "second")
    pipeline.segmenter_of_folders(second, world / "JPEGImages", labels, world / "classes.txt")
    again = seconds() - begin
    model = load(second.folder(SEGMENTER) / MODEL, workers=0)
    return {
        "seed": seed,
        "labels": 100 * summary["labels"]["miou"],
        "relabelled": scores.miou,
        "segmenter": 100 * summary["segmenter"]["miou"],
        "second segmenter": evaluate(model, open_dataset(world, split="val")).scores.miou,
        "seconds": round(first, 1),
        "seconds of the second round": round(again, 1),
        **former(world, seed, home / "former"),
    }


def former(world: Path, seed: int, out: Path) -> dict[str, float]:
    """The demo's recipe of 0e5ccf8 on the same world: label maps, segmenter, seconds."""
    context = Context(load_recipe(str(OLD), [*MODELS, f"run.seed={seed}"]), Source(world), out)
    begin = seconds()
    pipeline.run(context, steps=[*(step.name for step in pipeline.run_steps(context.recipe)), SEGMENTER])
    used = seconds() - begin
    model = load(context.folder(SEGMENTER) / MODEL, workers=0)
    return {
        "former labels": read_json(context.folder("scores") / "scores.json")["labels"]["miou"],
        "former segmenter": evaluate(model, open_dataset(world, split="val")).scores.miou,
        "former seconds": round(used, 1),
    }


def seconds() -> float:
    """Processor seconds of this process and its finished children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def run(work: Path, seeds: Sequence[int]) -> None:
    """Every world that has no file yet."""
    for seed in seeds:
        path = RESULTS / f"s{seed}.json"
        if not path.is_file():
            write_json(path, measure(work, seed))
            print(read_json(path), flush=True)


def show() -> None:
    """A table for the worlds that were measured with pasting, and one for those before (see `PASTING`)."""
    worlds = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    for title, with_it in (("segmenter with things pasted in", True), ("before", False)):
        mine = [world for world in worlds if (world["seed"] >= PASTING) == with_it]
        if mine:
            print(f"\n{title}\n")
            table(mine)


def table(worlds: Sequence[dict[str, Any]]) -> None:
    """A Markdown table, a row a world, and the paired differences with their 95 % intervals."""
    names = (
        "labels",
        "relabelled",
        "segmenter",
        "second segmenter",
        "seconds",
        "seconds of the second round",
        "former labels",
        "former segmenter",
        "former seconds",
    )
    print(f"| world | {' | '.join(names)} |\n|---|{'--:|' * len(names)}")
    for world in worlds:
        print(f"| s{world['seed']} | {' | '.join(f'{world[name]:.1f}' for name in names)} |")
    pairs = [("labels", "relabelled"), ("segmenter", "second segmenter")]
    pairs += [
        ("former labels", "relabelled"),
        ("former segmenter", "segmenter"),
        ("former segmenter", "second segmenter"),
    ]
    for before, after in pairs:
        gain = interval([world[after] - world[before] for world in worlds])
        if gain is not None:
            print(f"{after} - {before}: {gain.mean:+.2f} ± {gain.half or float('nan'):.2f} ({gain.values} worlds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    commands.add_parser("show")
    running.add_argument("--work", type=Path, required=True)
    running.add_argument("--seeds", type=int, nargs="+", default=[351, 352, 353, 354, 355])
    chosen = parser.parse_args()
    if chosen.command == "run":
        run(chosen.work, chosen.seeds)
    else:
        show()


if __name__ == "__main__":
    main()
