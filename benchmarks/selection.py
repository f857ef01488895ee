"""What choosing the background threshold without pixel masks costs, measured on finished runs whose photos have masks.

    python benchmarks/selection.py RUN... [--photos 150] [--methods threshold crf] [--every] [--out FILE]
    python benchmarks/selection.py --epochs RUN... [--photos 150] [--out FILE]

For every run the label maps of `--photos` photos are made at all thresholds, by every method (the threshold alone, the
dense CRF, regions, regions and the CRF), and scored against the masks: the curve that nobody without masks has. Each
criterion then names a threshold from photos and tags alone; its loss is the best mIoU of the curve minus the mIoU at
that threshold, in points (between two thresholds by linear interpolation). Prints a table of mean and worst loss; JSON
has every run. The run's name is the name of the folder above `run`, or its own. Runs are only read; they need the steps
up to `regions` and `cams`.
`--epochs`: instead, what the choice of refinement's epoch costs, on runs whose refinement was trained with
`refinement.select_epoch=auto`: `semples train refinement --out RUN --set refinement.select_epoch=auto`.
`--every`: also criteria that look at what a mask leaves out, which doubles the time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semples.core.files import read_json, write_json
from semples.data.dataset import Item, drawn
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.evaluation.selection import (
    Grid,
    Signs,
    at,
    choose,
    mean_over_pairs,
    peak,
    rank_correlation,
    steadiness,
)
from semples.labels.make import calibration_of
from semples.labels.threshold import winner_map
from semples.recipe import LabelSettings
from semples.run import pipeline
from semples.run.epochs import SCORES, Epochs
from semples.run.labelling import label_inputs, label_method
from semples.run.models import RunParts
from semples.run.records import result_of
from semples.run.steps.selection import Later, estimate
from semples.run.work import Work
from semples.settings.kinds import STAGES
from semples.stages.recognition import Recognition

STEP = Grid(reach=4)
THRESHOLDS = STEP.maps  # the finest grid that every criterion can be read off
TRIED = THRESHOLDS[2 : -STEP.reach]  # 0.10 to 0.74, as in the product
METHODS = ("threshold", "crf", "regions", "regions+crf")
RESULTS = Path(__file__).parent / "results"
FIXED = (0.3, 0.35, 0.4, 0.45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--photos", type=int, default=150)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--epochs", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out = options.out or RESULTS / ("epochs.json" if options.epochs else "selection.json")
    stored: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    for run in options.runs:
        name = run.parent.name if run.name == "run" else run.name
        if options.epochs:
            stored[name] = measure_epochs(run, photos=options.photos)
            write_json(options.out, stored)
            print(name, stored[name], flush=True)
            continue
        measured = measure(run, methods=options.methods, photos=options.photos, every=options.every)
        stored[name] = stored.get(name, {}) | measured
        write_json(options.out, stored)
        for method, of_method in measured.items():
            print(name, method, of_method["best"], json.dumps(of_method["loss"]), flush=True)
    print(epoch_table(stored) if options.epochs else table(stored))


def measure(run: Path, *, methods: Sequence[str], photos: int, every: bool) -> dict[str, Any]:
    """Losses of every criterion on one run, for every way to make label maps."""
    context = pipeline.open_run(run)
    recipe, dataset = context.recipe, context.scored_dataset
    judged = drawn(dataset, count=min(photos, recipe.selection.photos), seed=recipe.run.seed)
    rest = [item for item in dataset.items if item not in judged][: max(0, photos - len(judged))]
    judge = Later(Work.outside(context))()
    by_method: dict[str, Any] = {}
    for method in methods:
        begin = time.monotonic()
        chosen = replace(context, recipe=replace(recipe, labels=LabelSettings(method=method)))
        work = Work.outside(chosen, "cams", "regions")
        labeller = label_method(work)
        inputs = label_inputs(work, labeller.needs)
        rows: list[dict[str, Any]] = []
        confusion = np.zeros((len(THRESHOLDS), len(dataset.classes) + 1, len(dataset.classes) + 2), np.int64)
        for item in [*judged, *rest]:
            photo, truth = dataset.photo(item), dataset.mask(item)
            assert truth is not None
            given = inputs.shown(item, photo)
            winner, value = winner_map(given.cams, given.shape)
            plain = [np.where(value > np.float32(threshold), winner, np.uint8(0)) for threshold in THRESHOLDS]
            maps = labeller.sweep(given, THRESHOLDS)
            counts_of_maps = [confusion_matrix(truth, labels, num_classes=len(dataset.classes)) for labels in maps]
            confusion += np.stack(counts_of_maps)
            if item in judged:
                rows.append(
                    _signs(judge, photo, item, plain, maps, value, every=every)
                    | {"confusion": np.stack(counts_of_maps)}
                )
        by_method[method] = _losses(rows, confusion, method, num_classes=len(dataset.classes))
        # The same photos once more, now with a threshold for every class.
        limits = np.array(by_method[method]["per_class"], np.float32)
        counts = np.zeros_like(confusion[0])
        for item in [*judged, *rest]:
            photo, truth = dataset.photo(item), dataset.mask(item)
            assert truth is not None
            labelled = labeller.label(inputs.shown(item, photo), limits)
            counts += confusion_matrix(truth, labelled.labels, num_classes=len(dataset.classes))
        lost = by_method[method]["best"]["miou"] - scores_from_confusion(counts).miou
        by_method[method]["loss"]["kept, a threshold per class"] = round(lost, 3)
        by_method[method]["seconds"] = round(time.monotonic() - begin, 1)
    return by_method


def measure_epochs(run: Path, *, photos: int) -> dict[str, Any]:
    """Best mIoU of the CAMs after every epoch of refinement, and what the last and the chosen epoch lose against the
    best one; the run was trained with `refinement.select_epoch=auto`, which keeps the weights of every epoch."""
    context = pipeline.open_run(run)
    recipe = context.recipe
    context = replace(context, recipe=replace(recipe, selection=replace(recipe.selection, photos=photos)))
    settings, folder = recipe.refinement, context.folder("refinement")
    work = Work(context, "refinement", folder, needs=("data", *type(settings).NEEDS))
    task = STAGES.load(settings.kind).of_run(RunParts(work), settings)
    count = int(settings.epochs)
    epochs = Epochs(work, settings, task.generator, count=count)
    score = epochs._miou()
    task.eval()
    miou = []
    for epoch in range(1, count + 1):
        epochs._load(epoch)
        miou.append(round(score(), 3))
    agreement = read_json(folder / SCORES)["scores"]
    chosen = int(result_of(folder)["kept_epoch"])
    return {
        "miou": miou,
        "agreement": [agreement[str(epoch)] for epoch in range(1, len(miou) + 1)],
        "chosen": chosen,
        "loss": {"last": round(max(miou) - miou[-1], 3), "auto": round(max(miou) - miou[chosen - 1], 3)},
    }


def _signs(
    judge: Recognition,
    photo: np.ndarray,
    item: Item,
    plain: list[np.ndarray],
    maps: list[np.ndarray],
    value: np.ndarray,
    *,
    every: bool,
) -> dict[str, Any]:
    """Everything the criteria need of a photo: per present class, over the tried thresholds."""
    tried = slice(THRESHOLDS.index(TRIED[0]), THRESHOLDS.index(TRIED[-1]) + 1)
    masks = [labels == index + 1 for index in item.tags for labels in maps[tried]]
    shape = (len(item.tags), len(TRIED))
    keys = [mask.tobytes() for mask in masks]
    different = dict(zip(keys, masks, strict=True))
    again = [list(different).index(key) for key in keys]
    with torch.no_grad():
        targets_EK, scale = judge.judge.targets.t(), judge.judge.scale
        shown = (judge._features(photo, list(different.values())) @ targets_EK)[again]
        hidden = torch.full_like(shown, torch.nan)
        if every:
            hidden = judge._features(photo, [~mask for mask in masks]) @ targets_EK
    classes = np.repeat(item.tags, len(TRIED))
    rows = np.arange(len(masks))
    front, back = shown.double().numpy(), hidden.double().numpy()
    others = front.copy()
    others[rows, classes] = -np.inf
    share = np.exp(scale * front - (scale * front).max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    same = [
        [
            _overlap(before == index + 1, after == index + 1)
            for before, after in zip(plain[tried], maps[tried], strict=True)
        ]
        for index in item.tags
    ]
    return {
        "classes": list(item.tags),
        "steady": {reach: steadiness(maps, item.tags, reach=reach) for reach in (1, 2, 3, 4)},
        "recognition": share[rows, classes].reshape(shape),
        "cosine": front[rows, classes].reshape(shape),
        "background": back[rows, classes].reshape(shape),
        "margin": (front[rows, classes] - others.max(axis=1)).reshape(shape),
        "agreement": np.array(same),
        "otsu": otsu(value),
    }


def _overlap(left: np.ndarray, right: np.ndarray) -> float:
    union = np.count_nonzero(left | right)
    return np.count_nonzero(left & right) / union if union else float("nan")


def otsu(value: np.ndarray) -> float:
    """The threshold that best parts a photo's CAM values in two groups (Otsu 1979), in hundredths."""
    counts = np.histogram(value, bins=100, range=(0, 1))[0].astype(np.float64)
    centres = (np.arange(100) + 0.5) / 100
    below, total = counts.cumsum(), counts.sum()
    sums = (counts * centres).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] * below / total - sums) ** 2 / (below * (total - below))
    return float((np.nanargmax(between) + 1) / 100)


def _losses(rows: list[dict[str, Any]], confusion: np.ndarray, method: str, *, num_classes: int) -> dict[str, Any]:
    """The threshold that each criterion names, and what it loses."""
    miou = np.array([scores_from_confusion(counts).miou for counts in confusion])
    best = peak(THRESHOLDS, miou)
    classes = np.array([index for row in rows for index in row["classes"]])
    stacked = {key: np.concatenate([row[key] for row in rows]) for key in KINDS}
    means = {key: mean_over_pairs(values) for key, values in stacked.items()}
    curves = {
        "class cosine of the mask": means["cosine"],
        "lead over the next class": means["margin"],
        "recognition": means["recognition"],
    }
    if not np.isnan(means["background"]).any():
        curves["class cosine of mask - rest"] = means["cosine"] - means["background"]
        curves["matching objective on hard masks"] = mean_over_pairs(
            np.log(stacked["cosine"].clip(1e-4, 0.9999)) + np.log(1 - stacked["background"].clip(1e-4, 0.9999))
        )
    if method != "threshold":
        curves["agreement with the threshold alone"] = means["agreement"]
    named = {name: peak(TRIED, curve) for name, curve in curves.items()}
    named |= {f"fixed {value:.2f}": value for value in FIXED}
    named["Otsu, mean of photos"] = float(np.mean([row["otsu"] for row in rows]))
    for reach in (1, 2, 3, 4):
        steady = np.concatenate([row["steady"][reach] for row in rows])
        places = THRESHOLDS[reach : len(THRESHOLDS) - reach]
        kept = [index for index, place in enumerate(places) if place in TRIED]
        tried = [places[index] for index in kept]
        named[f"steadiness, window {reach * 0.04:.2f}"] = peak(tried, mean_over_pairs(steady)[kept])
        recognised = stacked["recognition"][:, [TRIED.index(place) for place in tried]]
        choice = choose(Signs(classes, steady[:, kept], recognised), tried, num_classes=num_classes)
        named[f"steadiness, window {reach * 0.04:.2f}, and recognition"] = choice.threshold
        for weight in (0.25, 0.5):
            less = choose(Signs(classes, steady[:, kept], recognised), tried, num_classes=num_classes, weight=weight)
            named[f"steadiness, window {reach * 0.04:.2f}, and recognition x {weight}"] = less.threshold
        calibration = calibration_of(method)
        if calibration.grid.reach == reach:
            signs, weight = Signs(classes, steady[:, kept], recognised), calibration.grid.weight
            choice = choose(signs, tried, num_classes=num_classes, weight=weight)
            named["kept"] = choice.threshold
            guess = estimate(choice, tried, calibration=calibration, place=choice.threshold)
            thresholds = [choice.threshold if place is None else place for place in choice.per_class]
            photos = _photo_ranks(rows, reach, choice.threshold)
    loss = {name: round(float(miou.max() - np.interp(place, THRESHOLDS, miou)), 3) for name, place in named.items()}
    return {
        "best": {"threshold": best, "miou": round(float(miou.max()), 3)},
        "named": named,
        "loss": loss,
        "per_class": thresholds,
        "miou": {"threshold": THRESHOLDS, "miou": miou.round(3).tolist()},
        "estimate": guess | {"true": round(at(THRESHOLDS, miou, choice_of(named)), 2)},
        "photo_rank_correlation": photos,
    }


KINDS = ("recognition", "cosine", "background", "margin", "agreement")


def choice_of(named: dict[str, float]) -> float:
    """The threshold that the product takes."""
    return named["kept"]


def _photo_ranks(rows: list[dict[str, Any]], reach: int, place: float) -> float:
    """Spearman's correlation, over photos, of steadiness at the chosen threshold and the photo's true mIoU there."""
    index = int(np.argmin(np.abs(np.array(THRESHOLDS) - place)))
    guess = [float(np.nanmean(np.append(row["steady"][reach][:, index - reach], np.nan))) for row in rows]
    truth = [scores_from_confusion(row["confusion"][index]).miou for row in rows]
    pairs = [(a, b) for a, b in zip(guess, truth, strict=True) if a == a and b == b]
    return round(rank_correlation(*map(list, zip(*pairs, strict=True))), 3)


def epoch_table(runs: dict[str, Any]) -> str:
    """Markdown: a row a run."""
    lines = [
        "| run | best mIoU after each epoch | last epoch loses | chosen epoch | it loses |",
        "|---|---|---|---|---|",
    ]
    for name, of_run in runs.items():
        miou = ", ".join(f"{value:.2f}" for value in of_run["miou"])
        lines.append(
            f"| {name} | {miou} | {of_run['loss']['last']:.2f} | {of_run['chosen']} | {of_run['loss']['auto']:.2f} |"
        )
    return "\n".join(lines)


def table(runs: dict[str, Any]) -> str:
    """Markdown: a row a criterion, for each method the loss on every run, mean and worst."""
    lines = []
    for method in METHODS:
        names = [run for run in runs if method in runs[run]]
        if not names:
            continue
        criteria = dict.fromkeys(name for run in names for name in runs[run][method]["loss"])
        rows = []
        for criterion in criteria:
            of_runs = [runs[run][method]["loss"].get(criterion) for run in names]
            losses = [loss for loss in of_runs if loss is not None]
            cells = " | ".join("–" if loss is None else f"{loss:.2f}" for loss in of_runs)
            rows.append((float(np.mean(losses)), f"{criterion} | {cells} | {np.mean(losses):.2f} | {max(losses):.2f}"))
        lines += [f"\n{method}: mIoU lost, points", "", "| criterion | " + " | ".join(names) + " | mean | worst |"]
        lines += ["|---" * (len(names) + 3) + "|", *(f"| {text} |" for _, text in sorted(rows))]
        best = " | ".join(f"{runs[run][method]['best']['miou']:.1f}" for run in names)
        lines.append(f"| best mIoU | {best} | | |")
        for title, key in (("estimated mIoU", "miou"), ("true mIoU there", "true")):
            guesses = [runs[run][method].get("estimate", {}).get(key) for run in names]
            cells = " | ".join("–" if guess is None else f"{guess:.1f}" for guess in guesses)
            lines.append(f"| {title} | {cells} | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
