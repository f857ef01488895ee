"""Which superpixels label maps are drawn with: boundary recall, mIoU of the label maps, seconds a photo.

    OMP_NUM_THREADS=1 python benchmarks/superpixels.py RUN --side 384 --json benchmarks/results/superpixels.json

RUN: a folder that `semples demo --out RUN` left. Its scenes are drawn again with `--side` pixels and exact masks, and
labelled with the run's own CAMs and threshold, so that photos are large and CAMs as coarse as they are on real ones.
Boundary recall: share of the true edges between things and background that have an edge of the finest superpixels
within 0.6 % of the diagonal (3 pixels at 384). mIoU by the regions alone, and with the CRF behind. Seconds: one core,
median over photos, of the superpixels of all levels together.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.data.demo.world import DemoWorld
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.labels.base import LabelInput
from semples.labels.make import make_label_method
from semples.labels.regions import Regions
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.label_maps import proposer
from semples.run.names import SELECTION, SELECTION_FILE

NEAR = 0.006  # of the diagonal
VARIANTS: dict[str, tuple[str, ...]] = {
    "felzenszwalb, 4 scales": ("regions.scales=[100,200,400,800]", "regions.max_side=1024"),
    "felzenszwalb, 2 scales": ("regions.scales=[100,400]", "regions.max_side=1024"),
    "4 scales at 256": ("regions.scales=[50,100,200,400]", "regions.max_side=256"),
    "3 scales at 256": ("regions.scales=[30,100,300]", "regions.max_side=256"),
    "2 scales at 256": ("regions.scales=[50,200]", "regions.max_side=256"),
    "slic, 2 scales": ("regions.proposals=slic", "regions.scales=[200,800]", "regions.max_side=1024"),
    "slic, 2 scales at 256": ("regions.proposals=slic", "regions.scales=[200,800]", "regions.max_side=256"),
}


def measure(run: Path, recipe: Recipe, *, side: int, photos: int) -> dict[str, Any]:
    """Figures of one choice."""
    context = pipeline.open_run(run / "run")
    threshold = float(read_json(context.folder(SELECTION) / SELECTION_FILE)["threshold"])
    described = read_json(context.source.root / "world.json")
    classes = len(described["classes"])
    world = DemoWorld(seed=described["seed"], family="train", p=described["p"], class_count=classes, resolution=side)
    store, propose = CamStore(context.folder("cams")), proposer(recipe.regions, lambda: context.engine.device)
    confusions = {name: np.zeros((classes + 1, classes + 2), np.int64) for name in ("regions", "regions+crf")}
    methods = {
        name: make_label_method(
            replace(recipe.labels, method=name), regions=recipe.regions, crf=recipe.crf, num_classes=classes
        )
        for name in confusions
    }
    seconds, recalls, counts = [], [], []
    for index, item in enumerate(context.listing.items[:photos]):
        scene = world.draw(index)
        photo, truth = scene.photo, scene.object_mask
        begin = time.process_time()
        regions = propose(photo)
        seconds.append(time.process_time() - begin)
        counts.append(sum(len(level) for level in regions.levels))
        recalls.append(boundary_recall(regions, truth))
        shape = (photo.shape[0], photo.shape[1])
        for name, method in methods.items():
            given = LabelInput(
                id=item.id,
                cams=store.read(item.id),
                shape=shape,
                size=shape,
                tags=item.tags,
                photo=partial(_same, photo),
                regions=partial(_same, regions),
            )
            labels = method.label(given, threshold).labels
            confusions[name] += confusion_matrix(truth, labels, num_classes=classes, where=item.id)
    known = [recall for recall in recalls if not math.isnan(recall)]
    return {
        "recall": round(statistics.fmean(known), 4),
        "seconds": round(statistics.median(seconds), 4),
        "regions": round(statistics.median(counts)),
        "miou": {name: round(scores_from_confusion(counts).miou, 3) for name, counts in confusions.items()},
        "photos": len(seconds),
        "side": side,
    }


def _same(value: Any) -> Any:
    return value


def boundary_recall(regions: Regions, truth: np.ndarray) -> float:
    """Share of the true edges near an edge of the finest level; NaN where there is no true edge."""
    label = np.zeros(regions.shape[0] * regions.shape[1], np.int64)
    place, region = regions.levels[0].pixels()
    label[place] = region
    fine = label.reshape(regions.shape)
    rows = np.arange(truth.shape[0]) * fine.shape[0] // truth.shape[0]
    columns = np.arange(truth.shape[1]) * fine.shape[1] // truth.shape[1]
    drawn, wanted = edges(fine[np.ix_(rows, columns)]), edges(truth)
    if not wanted.any():
        return float("nan")
    distance = distance_transform_edt(~drawn)
    return float((distance[wanted] <= max(1.0, NEAR * math.hypot(*truth.shape))).mean())


def edges(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another label."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def show(rows: dict[str, Any]) -> str:
    lines = ["| superpixels | seconds | boundary recall | mIoU, regions | + CRF | regions |", "|---|" + "--:|" * 5]
    for name, row in rows.items():
        miou = row["miou"]
        lines.append(
            f"| {name} | {row['seconds']:.3f} | {row['recall']:.3f} | {miou['regions']:.1f} | "
            f"{miou['regions+crf']:.1f} | {row['regions']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe, for all")
    parser.add_argument("--json", type=Path, required=True, help="figures; rows that are there are not made again")
    given = parser.parse_args()
    rows: dict[str, Any] = read_json(given.json) if given.json.is_file() else {}
    for name, settings in VARIANTS.items():
        key = f"{name} ({given.side} px)" + "".join(f", {text}" for text in given.set)
        if key not in rows:
            recipe = load_recipe("folder", [*settings, *given.set])
            rows[key] = measure(given.run, recipe, side=given.side, photos=given.photos)
            write_json(given.json, rows)
            print(key, rows[key], flush=True)
    print(show(rows))


if __name__ == "__main__":
    main()
