"""Are label maps of several sources better together? By confidence, by vote, and where they agree.

    python benchmarks/combine.py run --work WORK --on s361-n300 --sources weaktr mctformer clip-kk
    python benchmarks/combine.py run --work WORK --on s361-n300 --sources weaktr clip-kk --segmenters
    python benchmarks/combine.py show

WORK holds runs of benchmarks/methods.py, WORK/ON/VARIANT; sources are variants. Every pair and, where there are three
sources or more, all together are combined as `semples combine` does; figures are mIoU of the label maps (%), those of
each source alone, and for `agree` the share of pixels on which all agree and mIoU on these alone. With --segmenters, on
a drawn world: mIoU on photos that no stage saw, without tags, of the demo's segmenter trained on the first source's
label maps and on all combined by confidence. Finished cells are skipped.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segmenter import link_maps
from semples.core.files import read_json, write_json
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.data.dataset import open_dataset
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.labels.scored import IGNORE
from semples.prediction import load
from semples.prediction.evaluate import evaluate
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.combine import combine_run
from semples.run.context import Context, Source
from semples.run.names import MODEL, SEGMENTER

RESULTS = Path(__file__).parent / "results" / "combine"


def miou(context: Context, folder: Path, *, where: Path | None = None) -> tuple[float, float]:
    """mIoU (%) of the label maps of a folder, and the share of pixels that count: those that `where` labels, or all."""
    classes = len(context.scored_dataset.classes)
    confusion, counted, pixels = np.zeros((classes + 1, classes + 2), np.int64), 0, 0
    for item in context.scored_dataset.items:
        truth = context.scored_dataset.mask(item)
        if truth is None:
            continue
        labels = read_label_png(place_of(folder, item.id, ".png"))
        if where is not None:
            told = read_label_png(place_of(where, item.id, ".png")) != IGNORE
            truth = np.where(told, truth, IGNORE)
        counted, pixels = counted + int((truth != IGNORE).sum()), pixels + truth.size
        confusion += confusion_matrix(truth, labels, num_classes=classes, where=item.id)
    return float(scores_from_confusion(confusion).miou), counted / pixels


def measure(home: Path, sources: Sequence[str]) -> dict[str, Any]:
    """All figures of one set of sources."""
    context = pipeline.open_run(home / sources[0])
    folders = [home / source / "labels" for source in sources]
    out = home / "combined" / "-".join(sources)
    figures: dict[str, Any] = {"alone": [round(miou(context, folder)[0], 2) for folder in folders]}
    for by in ("confidence", "vote") if len(sources) > 2 else ("confidence",):
        combine_run(context, folders, out / by, by=by)
        figures[by] = round(miou(context, out / by)[0], 2)
    combine_run(context, folders, out / "agree", agree=len(sources))
    there, share = miou(context, out / "agree", where=out / "agree")
    return figures | {"agree": {"miou": round(there, 2), "share": round(share, 4)}}


def segmenters(home: Path, sources: Sequence[str]) -> dict[str, float]:
    """mIoU (%) of two segmenters, one by the first source's label maps and one by all of them combined."""
    first = pipeline.open_run(home / sources[0])
    combined = home / "combined" / "-".join(sources) / "confidence"
    combine_run(first, [home / source / "labels" for source in sources], combined, by="confidence")
    return {
        "first": segmenter(first, home / sources[0] / "labels", home / "segmenters" / sources[0]),
        "combined": segmenter(first, combined, home / "segmenters" / "-".join(sources)),
    }


def segmenter(context: Context, labels: Path, out: Path) -> float:
    """mIoU (%) on a drawn world's unseen photos of the demo's segmenter, trained on a folder of label maps."""
    world = context.dataset.root
    names = {item.id for item in open_dataset(world, split="train").items}
    learned = Context(load_recipe("demo", [f"run.seed={context.recipe.run.seed}"]), Source(world), out)
    pipeline.segmenter_of_folders(
        learned, world / "JPEGImages", link_maps(labels, names, out / "maps"), world / "classes.txt"
    )
    model = load(learned.folder(SEGMENTER) / MODEL, workers=0)
    return round(evaluate(model, open_dataset(world, split="val")).scores.miou, 2)


def run_segmenters(work: Path, on: str, sources: Sequence[str]) -> None:
    """The two segmenters of these sources, unless they have a file."""
    path = RESULTS / "segmenters" / f"{on}-{'-'.join(sources)}.json"
    if not path.is_file():
        write_json(path, {"on": on, "sources": list(sources), **segmenters(work / on, sources)})
        print(path.name, read_json(path), flush=True)


def run(work: Path, on: str, sources: Sequence[str]) -> None:
    """Every cell that has no file yet."""
    sets: list[tuple[str, ...]] = list(itertools.combinations(sources, 2))
    sets += [tuple(sources)] if len(sources) > 2 else []
    for chosen in sets:
        path = RESULTS / f"{on}-{'-'.join(chosen)}.json"
        if not path.is_file():
            write_json(path, {"on": on, "sources": list(chosen), **measure(work / on, chosen)})
            print(path.name, read_json(path), flush=True)


def show() -> None:
    """A Markdown table."""
    print("| photos | sources | each alone | by confidence | by vote | all agree on | mIoU there |")
    print("|---|---|---|--:|--:|--:|--:|")
    for path in sorted(RESULTS.glob("*.json")):
        cell = read_json(path)
        alone, agree = ", ".join(f"{one:.1f}" for one in cell["alone"]), cell["agree"]
        columns = [f"{cell[by]:.1f}" if by in cell else "" for by in ("confidence", "vote")]
        columns += [f"{100 * agree['share']:.0f} %", f"{agree['miou']:.1f}"]
        print(f"| {cell['on']} | {' + '.join(cell['sources'])} | {alone} | {' | '.join(columns)} |")
    print("\n| photos | sources | segmenter by the first | by all combined |\n|---|---|--:|--:|")
    for path in sorted((RESULTS / "segmenters").glob("*.json")):
        cell = read_json(path)
        print(f"| {cell['on']} | {' + '.join(cell['sources'])} | {cell['first']:.1f} | {cell['combined']:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    commands.add_parser("show")
    running.add_argument("--work", type=Path, required=True)
    running.add_argument("--on", required=True)
    running.add_argument("--sources", nargs="+", required=True)
    running.add_argument("--segmenters", action="store_true", help="train two segmenters instead")
    chosen = parser.parse_args()
    if chosen.command == "show":
        show()
    elif chosen.segmenters:
        run_segmenters(chosen.work, chosen.on, chosen.sources)
    else:
        run(chosen.work, chosen.on, chosen.sources)


if __name__ == "__main__":
    main()
