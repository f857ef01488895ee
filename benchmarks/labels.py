"""What CRF and regions add to label maps over the background threshold alone, on finished demo runs.

    python benchmarks/labels.py RUN [RUN ...] [--out labels.json]

RUN: folders that `semples demo --out RUN` left; their photos have exact masks. Two thresholds each: the recipe's, and
the best for plain labels by those masks. Prints a Markdown table of mIoU and gains, and how well confidences and the
review list find mistakes. Every finished world is in the JSON file, so that a stopped benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from semples.cams.store import Cams, CamStore
from semples.core.files import read_json, write_json
from semples.data.dataset import Item
from semples.evaluation.confusion import IGNORE, confusion_matrix, scores_from_confusion
from semples.inspect.review import certainty
from semples.labels.base import LabelInput
from semples.labels.make import make_label_method
from semples.labels.regions import Regions
from semples.labels.scored import Labelled
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.context import Context
from semples.run.label_maps import proposer
from semples.run.names import CURVE_FILE, curve_name

RECIPE = Path(__file__).parent / "recipes" / "demo-0e5ccf8.yaml"  # of the demo when these figures were made
Method = Literal["threshold", "crf", "regions", "regions+crf"]
METHODS: tuple[Method, ...] = ("threshold", "crf", "regions", "regions+crf")


@dataclass(frozen=True)
class Photo:
    """One photo of a run with all that labels are made from, and its exact mask."""

    item: Item
    pixels: np.ndarray
    truth: np.ndarray
    cams: Cams
    regions: Regions


@dataclass(frozen=True)
class World:
    """The photos of a run, made ready with the regions of a recipe."""

    name: str
    context: Context
    photos: list[Photo]
    region_seconds: float

    @property
    def best_threshold(self) -> float:
        """The best for plain labels by the masks."""
        return float(read_json(self.context.folder(curve_name()) / CURVE_FILE)["best"]["threshold"])


def open_world(folder: Path, recipe: Recipe) -> World:
    """Read a demo folder and propose the regions of its photos."""
    context = pipeline.open_run(folder / "run")
    store = CamStore(context.folder("cams"))
    propose, photos, seconds = proposer(recipe.regions, lambda: context.engine.device), [], 0.0
    for item in context.listing.items:
        pixels, truth = context.listing.photo(item), context.listing.mask(item)
        assert truth is not None
        begin = time.perf_counter()
        regions = propose(pixels)
        seconds += time.perf_counter() - begin
        photos.append(Photo(item, pixels, truth, store.read(item.id), regions))
    return World(folder.name, context, photos, seconds)


def labelled(world: World, recipe: Recipe, threshold: float) -> Iterator[tuple[Photo, Labelled]]:
    """Every photo's labels and confidences by the recipe."""
    method = make_label_method(
        recipe.labels, regions=recipe.regions, crf=recipe.crf, num_classes=len(world.context.listing.classes)
    )
    for photo in world.photos:
        shape = (photo.truth.shape[0], photo.truth.shape[1])
        given = LabelInput(
            id=photo.item.id,
            cams=photo.cams,
            shape=shape,
            size=shape,
            tags=photo.item.tags,
            photo=partial(getattr, photo, "pixels"),
            regions=partial(getattr, photo, "regions"),
        )
        yield photo, method.label(given, threshold)


def with_method(recipe: Recipe, method: Method) -> Recipe:
    return replace(recipe, labels=replace(recipe.labels, method=method))


def measure(world: World, recipe: Recipe) -> dict[str, Any]:
    """All figures of one world."""
    thresholds = {"recipe": recipe.labels.threshold, "best": world.best_threshold}
    figures_of_world: dict[str, Any] = {"world": world.name, "thresholds": thresholds, "miou": {}, "confidence": {}}
    for which, threshold in thresholds.items():
        figures_of_world["miou"][which] = {}
        for method in METHODS:
            figures = judge(world, with_method(recipe, method), threshold)
            figures_of_world["miou"][which][method] = figures.pop("miou")
            if which == "recipe":
                figures_of_world["confidence"][method] = figures
    published = replace(recipe.regions, background=0.7, combine="paint")
    plain = judge(world, replace(with_method(recipe, "regions"), regions=published), recipe.labels.threshold)
    figures_of_world["miou"]["published scoring"] = {"regions": plain["miou"]}
    figures_of_world["seconds per photo"] = {"regions": round(world.region_seconds / len(world.photos), 4)}
    return figures_of_world


def judge(world: World, recipe: Recipe, threshold: float) -> dict[str, float]:
    """miou: of the label maps, percent. auc: chance that a wrong pixel is less sure than a right one. wrong, wrong of
    sure: share of wrong pixels among all, and among the nine tenths that are most sure. listed, all: mean IoU of the
    tenth of tagged photos that is listed first for review, and of all; a photo's IoU is the mean over its tags and
    background."""
    classes = len(world.context.listing.classes)
    confusion = np.zeros((classes + 1, classes + 2), np.int64)
    right, sure, certain, ious = [], [], [], []
    for photo, made in labelled(world, recipe, threshold):
        confusion += confusion_matrix(photo.truth, made.labels, num_classes=classes, where=photo.item.id)
        known = photo.truth != IGNORE
        right.append((made.labels == photo.truth)[known])
        sure.append(np.rint(made.confidence[known] * 255).astype(np.int64))
        if photo.item.tags:
            certain.append(certainty(made.labels, made.confidence, photo.item.tags))
            ious.append(photo_iou(made.labels, photo.truth, photo.item.tags))
    correct, confidence = np.concatenate(right), np.concatenate(sure)
    order = np.argsort(certain)[: len(certain) // 10]
    top = np.argsort(-confidence, kind="stable")[: len(correct) * 9 // 10]
    figures = {
        "miou": scores_from_confusion(confusion).miou,
        "auc": auc(confidence, correct),
        "wrong": 1 - correct.mean(),
        "wrong of sure": 1 - correct[top].mean(),
        "listed": np.mean(np.array(ious)[order]),
        "all": np.mean(ious),
    }
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def photo_iou(labels: np.ndarray, truth: np.ndarray, tags: Sequence[int]) -> float:
    """Mean IoU of background and tags in one photo, 0..1."""
    known = truth != IGNORE
    ious = []
    for value in (0, *(tag + 1 for tag in tags)):
        mine, right = (labels == value) & known, truth == value
        if (mine | right).any():
            ious.append((mine & right).sum() / (mine | right).sum())
    return float(np.mean(ious))


def auc(values: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive's value (integers 0..255) exceeds a negative's, ties counted half."""
    yes, no = (np.bincount(values[mask], minlength=256).astype(float) for mask in (positive, ~positive))
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: mIoU of the threshold alone and the gains, a row a world; then means and the smallest gains."""
    lines = []
    for which in ("recipe", "best"):
        lines += [
            f"\n{which} threshold\n",
            "| world | threshold | mIoU | + CRF | + regions | + regions, CRF |",
            "|---|" + "--:|" * 5,
        ]
        gains = []
        for result in results:
            figures = result["miou"][which]
            gains.append([figures[method] - figures["threshold"] for method in METHODS[1:]])
            cells = [result["world"], f"{result['thresholds'][which]:.2f}", f"{figures['threshold']:.1f}"]
            lines.append(f"| {' | '.join(cells + [f'{gain:+.1f}' for gain in gains[-1]])} |")
        for name, summary in (("mean", statistics.fmean), ("smallest", min)):
            plain = [result["miou"][which]["threshold"] for result in results]
            row = [
                name,
                "",
                f"{summary(plain):.1f}",
                *(f"{summary(column):+.1f}" for column in zip(*gains, strict=True)),
            ]
            lines.append(f"| {' | '.join(row)} |")
    lines += [
        "\nconfidence\n",
        "| method | AUC | wrong pixels | wrong of the surest 90 % | IoU of photos listed first | of all |",
        "|---|" + "--:|" * 5,
    ]
    for method in METHODS:
        mean = {
            key: statistics.fmean(result["confidence"][method][key] for result in results)
            for key in results[0]["confidence"][method]
        }
        shares = [f"{100 * mean[key]:.1f} %" for key in ("wrong", "wrong of sure")]
        lines.append(
            f"| {method} | {mean['auc']:.3f} | {' | '.join(shares)} | {mean['listed']:.2f} | {mean['all']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "labels.json")
    chosen = parser.parse_args()
    recipe = load_recipe(RECIPE)
    results = read_json(chosen.out) if chosen.out.is_file() else []
    for folder in chosen.runs:
        if folder.name not in [result["world"] for result in results]:
            results.append(measure(open_world(folder, recipe), recipe))
            write_json(chosen.out, results)
            print(json.dumps(results[-1]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
