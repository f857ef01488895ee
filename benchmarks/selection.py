"""What choosing the background threshold without pixel masks costs, measured on finished runs whose photos have masks.

    python benchmarks/selection.py RUN... [--photos 150] [--out benchmarks/results/selection.json]

For every run the label maps of `--photos` photos are made at all thresholds, by the threshold alone and with the dense
CRF, and scored against the masks: the curve that nobody without masks has. Each criterion then names a threshold from
photos and tags alone; its loss is the best mIoU of the curve minus the mIoU at that threshold, in points (between two
thresholds by linear interpolation). Prints a table of mean and worst loss; JSON has every run. The run's name is the
name of the folder above `run`, or its own. Runs are only read.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semples import pipeline
from semples.cam_store import Cams, CamStore
from semples.data.dataset import Item
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
from semples.files import write_json
from semples.judge import Judge
from semples.masks.labelling import Labeller
from semples.masks.regions import Regions
from semples.masks.threshold import winner_map
from semples.recipe import LabelSettings
from semples.steps.labels import make_labeller, read_cams
from semples.steps.selection import GRIDS, drawn, estimate, make_judge

STEP = Grid(reach=4)
THRESHOLDS = STEP.maps  # the finest grid that every criterion can be read off
METHODS = ("threshold", "crf")
FIXED = (0.3, 0.4, 0.45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--photos", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "selection.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for run in options.runs:
        name = run.parent.name if run.name == "run" else run.name
        found[name] = measure(run, photos=options.photos)
        write_json(options.out, found)
        print(name, json.dumps(found[name]["threshold"]["loss"]), json.dumps(found[name]["crf"]["loss"]), flush=True)
    print(table(found))


def measure(run: Path, *, photos: int) -> dict[str, Any]:
    """Losses of every criterion on one run, for both ways to make label maps."""
    context = pipeline.open_run(run)
    recipe, dataset = context.recipe, context.dataset
    K = len(dataset.classes)
    judged = drawn(dataset, count=min(photos, recipe.selection.photos), seed=recipe.run.seed)
    rest = [item for item in dataset.items if item not in judged][: max(0, photos - len(judged))]
    store = CamStore(context.folder("cams"), format=recipe.cams.format)
    judge = make_judge(context)
    found: dict[str, Any] = {}
    for method in METHODS:
        begin = time.monotonic()
        labeller = make_labeller(replace(recipe, labels=LabelSettings(method=method)), 0.5, num_classes=K)
        rows: list[dict[str, Any]] = []
        confusion = np.zeros((len(THRESHOLDS), len(dataset.classes) + 1, len(dataset.classes) + 2), np.int64)
        for item in [*judged, *rest]:
            photo, truth = dataset.photo(item), dataset.mask(item)
            assert truth is not None
            cams, shape = read_cams(store, item, photo.shape[:2])
            winner, value = winner_map(cams, shape)
            plain = [np.where(value > np.float32(threshold), winner, np.uint8(0)) for threshold in THRESHOLDS]
            maps = [labels_of(labeller.at(threshold), cams, photo, item) for threshold in THRESHOLDS]
            own = [confusion_matrix(truth, labels, num_classes=len(dataset.classes)) for labels in maps]
            confusion += np.stack(own)
            if item in judged:
                rows.append(_signs(judge, photo, item, plain, maps, value) | {"confusion": np.stack(own)})
        found[method] = _losses(rows, confusion, method, num_classes=len(dataset.classes))
        # The same photos once more, now with a threshold for every class.
        limits = np.array(found[method]["per_class"], np.float32)
        counts = np.zeros_like(confusion[0])
        for item in [*judged, *rest]:
            photo, truth = dataset.photo(item), dataset.mask(item)
            assert truth is not None
            labels = labels_of(labeller.at(limits), store.read(item.id), photo, item)
            counts += confusion_matrix(truth, labels, num_classes=len(dataset.classes))
        lost = found[method]["best"]["miou"] - scores_from_confusion(counts).miou
        found[method]["loss"]["kept, a threshold per class"] = round(lost, 3)
        found[method]["seconds"] = round(time.monotonic() - begin, 1)
    return found


def _no_regions() -> Regions:
    raise AssertionError("these methods look at no regions")


def labels_of(labeller: Labeller, cams: Cams, photo: np.ndarray, item: Item) -> np.ndarray:
    """Labels of one photo by a method without regions."""
    size = photo.shape[:2]
    return labeller(cams, shape=size, size=size, tags=item.tags, photo=lambda: photo, regions=_no_regions).labels


def _signs(
    judge: Judge, photo: np.ndarray, item: Item, plain: list[np.ndarray], maps: list[np.ndarray], value: np.ndarray
) -> dict[str, Any]:
    """Everything the criteria need of a photo: per present class, over all thresholds."""
    masks = [labels == index + 1 for index in item.tags for labels in maps]
    shape = (len(item.tags), len(maps))
    with torch.no_grad():
        shown = judge._features(photo, masks) @ judge.class_features_KE.t()
        hidden = judge._features(photo, [~mask for mask in masks]) @ judge.class_features_KE.t()
    classes = np.repeat(item.tags, len(maps))
    every = np.arange(len(masks))
    front, back = shown.double().numpy(), hidden.double().numpy()
    others = front.copy()
    others[every, classes] = -np.inf
    share = np.exp(judge.scale * front - (judge.scale * front).max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    same = [
        [_overlap(before == index + 1, after == index + 1) for before, after in zip(plain, maps, strict=True)]
        for index in item.tags
    ]
    return {
        "classes": list(item.tags),
        "steady": {reach: steadiness(maps, item.tags, reach=reach) for reach in (1, 2, 3, 4)},
        "recognition": share[every, classes].reshape(shape),
        "cosine": front[every, classes].reshape(shape),
        "background": back[every, classes].reshape(shape),
        "margin": (front[every, classes] - others.max(axis=1)).reshape(shape),
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
    cosine, background = means["cosine"], means["background"]
    matching = mean_over_pairs(
        np.log(stacked["cosine"].clip(1e-4, 0.9999)) + np.log(1 - stacked["background"].clip(1e-4, 0.9999))
    )
    curves = {
        "class cosine of the mask": cosine,
        "class cosine of mask - rest": cosine - background,
        "matching objective on hard masks": matching,
        "lead over the next class": means["margin"],
        "recognition": means["recognition"],
    }
    if method == "crf":
        curves["agreement with the CRF"] = means["agreement"]
    inside = slice(STEP.reach, len(THRESHOLDS) - STEP.reach)
    low = 2  # thresholds from 0.10 to 0.74 are tried, as in the product
    window = slice(low, inside.stop)
    named = {name: peak(THRESHOLDS[window], curve[window]) for name, curve in curves.items()}
    named |= {f"fixed {value:.2f}": value for value in FIXED}
    named["Otsu, mean of photos"] = float(np.mean([row["otsu"] for row in rows]))
    for reach in (1, 2, 3, 4):
        steady = np.concatenate([row["steady"][reach] for row in rows])
        places = THRESHOLDS[reach : len(THRESHOLDS) - reach]
        kept = [index for index, place in enumerate(places) if 0.1 <= place <= 0.74]
        tried = [places[index] for index in kept]
        named[f"steadiness, window {reach * 0.04:.2f}"] = peak(tried, mean_over_pairs(steady)[kept])
        recognised = stacked["recognition"][:, [THRESHOLDS.index(place) for place in tried]]
        choice = choose(Signs(classes, steady[:, kept], recognised), tried, num_classes=num_classes)
        named[f"steadiness, window {reach * 0.04:.2f}, and recognition"] = choice.threshold
        if GRIDS[method].reach == reach:
            named["kept"] = choice.threshold
            guess = estimate(choice, tried, method=method, place=choice.threshold)
            own = [choice.threshold if place is None else place for place in choice.per_class]
            photos = _photo_ranks(rows, reach, choice.threshold)
    loss = {name: round(float(miou.max() - np.interp(place, THRESHOLDS, miou)), 3) for name, place in named.items()}
    return {
        "best": {"threshold": best, "miou": round(float(miou.max()), 3)},
        "named": named,
        "loss": loss,
        "per_class": own,
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


def table(found: dict[str, Any]) -> str:
    """Markdown: a row a criterion, for each method the loss on every run, mean and worst."""
    lines = []
    for method in METHODS:
        names = list(found)
        criteria = dict.fromkeys(name for run in names for name in found[run][method]["loss"])
        rows = []
        for criterion in criteria:
            losses = [found[run][method]["loss"][criterion] for run in names]
            cells = " | ".join(f"{loss:.2f}" for loss in losses)
            rows.append((float(np.mean(losses)), f"{criterion} | {cells} | {np.mean(losses):.2f} | {max(losses):.2f}"))
        lines += [f"\n{method}: mIoU lost, points", "", "| criterion | " + " | ".join(names) + " | mean | worst |"]
        lines += ["|---" * (len(names) + 3) + "|", *(f"| {text} |" for _, text in sorted(rows))]
        best = " | ".join(f"{found[run][method]['best']['miou']:.1f}" for run in names)
        lines.append(f"| best mIoU | {best} | | |")
        guesses = [found[run][method]["estimate"] for run in names]
        lines.append("| estimated mIoU | " + " | ".join(f"{guess['miou']:.1f}" for guess in guesses) + " | | |")
        lines.append("| true mIoU there | " + " | ".join(f"{guess['true']:.1f}" for guess in guesses) + " | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
