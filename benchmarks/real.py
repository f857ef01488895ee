"""How good are label maps of real photos, from their tags alone? Every step of the way, on a folder with exact masks.

    OMP_NUM_THREADS=1 python benchmarks/real.py --data DIR --json F [--splits 3] [--photos 200] [--half choose]
        [--rows ROWS]

DIR: a folder with tags.csv, classes.txt and masks. Photos are divided by a hash of their names into two halves,
`choose` and `report`: settings are chosen on the one, figures are taken on the other. A split draws `--photos` of a
half; they are trained on by their tags and then labelled, and as many others are segmented without tags. Each finished
cell is a JSON file in the folder F.cells and is not computed again, so a benchmark that was cut goes on where it was.

F gets, as mIoU in 0..1 with the background: `cam` (threshold without masks), `cam_by_masks`, `labels` (threshold
without masks, regions and CRF, then region bank and CRF), `labels_by_masks`, `segmenter` (the bank on other photos, no
tags), `boundary` (boundary IoU of `labels`), `seconds`, and `steps` with every figure on the way. --rows: a folder for
pictures of the best, the middle and the worst photos: photo, CAM, label map before and after the bank, truth.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semples.cams.make import photo_cams
from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.core.palette import colour, read_label_png, write_label_png
from semples.data.dataset import Item, TaggedDataset, open_dataset, with_items
from semples.evaluation.boundary import BoundaryAccumulator
from semples.evaluation.confusion import confusion_matrix, mean_of_known, scores_from_confusion
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.evaluation.selection import Grid, Signs, at, choose, steadiness
from semples.generators.base import build_generator, load_generator, save_generator
from semples.generators.cnn import CnnGenerator
from semples.labels.bank import BankSettings, RegionBank, entries_of
from semples.labels.bank_segmenter import SUPERPIXELS, cnn_features
from semples.labels.base import LabelInput
from semples.labels.crf.dense import DenseCrf
from semples.labels.make import make_label_method
from semples.labels.proposals.base import make_proposer
from semples.labels.refined import refined
from semples.labels.regions import SUFFIX, Regions, read_regions, write_regions
from semples.labels.scored import Scored
from semples.labels.threshold import label_map, winner_map
from semples.recipe import (
    AugmentSettings,
    CamSettings,
    CrfSettings,
    LabelSettings,
    RunSettings,
)
from semples.settings.generators import CnnSettings
from semples.settings.labels import FelzenszwalbSettings
from semples.settings.stages import WarmupSettings
from semples.stages.warmup import Warmup
from semples.training.feed import Views, tag_matrix
from semples.training.loop import Engine, train

GENERATOR = CnnSettings()
WARMUP = WarmupSettings(
    epochs=6,
    batch=16,
    base_lr=0.16,
    schedule="cosine",
    augment=AugmentSettings(crop_scale=(0.5, 1.0), randaugment_ops=0, colour_jitter=0.0, erasing=0.0),
)
"""The rate is that of a classifier alone on a network that stays as it is: 0.005 at 16 photos a step."""
CAMS = CamSettings(scales=(1.0, 1.5))
REGIONS = FelzenszwalbSettings(background="threshold")
BANK = BankSettings()
CRF = CrfSettings()
GRID = Grid(reach=4)
BEFORE = "regions+crf"
"""The label maps that the bank is made of."""
WHICH = ("without", "by_masks")
"""Where a threshold comes from."""
AROUND = (-0.16, -0.08, 0.0, 0.08, 0.16)
"""Thresholds that label maps are tried at by masks, about the best of the CAMs by masks."""


@dataclass(frozen=True)
class Split:
    """Photos that are trained on and labelled, others that are segmented, and the folder of what is made of them."""

    photos: TaggedDataset
    others: TaggedDataset
    folder: Path
    seed: int

    @property
    def classes(self) -> int:
        return len(self.photos.classes)

    def cell(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The figures of a cell, read where it is finished."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            stored: dict[str, Any] = read_json(path)
            return stored
        begin = time.perf_counter()
        figures = compute()
        write_json(path, figures | {"seconds": round(time.perf_counter() - begin, 1)})
        return self.cell(name, compute)

    def map_path(self, kind: str, item: Item) -> Path:
        return self.folder / kind / f"{item.id}.png"

    def labels(self, kind: str, item: Item) -> np.ndarray:
        """A stored label map."""
        return read_label_png(self.map_path(kind, item))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def drawn(dataset: TaggedDataset, *, half: str, split: int, count: int, folder: Path) -> Split:
    """A split: the `count` photos of the half that come first in an order of its own, and as many that come next."""
    items = [
        item for item in dataset.items
        if item.mask is not None and item.tags and int(digest(item.id), 16) % 2 == (half == "report")
    ]  # fmt: skip
    items.sort(key=lambda item: digest(f"{split}:{item.id}"))
    parts = (items[:count], items[count : 2 * count])
    photos, others = (with_items(dataset, sorted(part, key=lambda item: item.id)) for part in parts)
    place = folder / f"{half}-{split}-{count}"
    place.mkdir(parents=True, exist_ok=True)
    return Split(photos, others, place, split)


def weights(split: Split) -> Path:
    return split.folder / "generator.safetensors"


def warm_up(split: Split) -> dict[str, Any]:
    """Train the generator on the tags."""
    model = build_generator(GENERATOR, classes=split.photos.classes, seed=split.seed)
    views = Views(
        dataset=split.photos,
        tags=tag_matrix(split.photos),
        augment=WARMUP.augment,
        size=model.view_side(GENERATOR.image_size),
        mean=model.mean,
        std=model.std,
        seed=split.seed,
        noise_size=model.noise_size,
    )
    run = RunSettings(seed=split.seed)
    train(
        Warmup(model),
        views,
        engine=Engine.start(run),
        settings=WARMUP,
        run=run,
        workers=0,
        folder=split.folder,
        fingerprint=digest(repr((GENERATOR, WARMUP))),
        label="warm-up",
    )
    save_generator(model, weights(split))
    return {"photos": len(split.photos.items), "others": len(split.others.items)}


def generator(split: Split) -> CnnGenerator:
    model = load_generator(weights(split)).eval()
    assert isinstance(model, CnnGenerator)
    return model


def make_cams(split: Split) -> dict[str, Any]:
    """CAMs of all photos; the best threshold by masks, and the steadiest without."""
    model, store = generator(split), CamStore(split.folder / "cams")
    curve = CurveAccumulator(split.classes, threshold_range(2, 96))
    classes, steady = list[int](), list[np.ndarray]()
    for item, photo, truth in looked_at(split.photos):
        if not store.has(item.id):
            made = photo_cams(model, [photo], [item.tags], settings=CAMS)[0]
            store.write(item.id, made, photo.shape[:2])
        cams = store.read(item.id)
        curve.add(truth, *winner_map(cams, truth.shape), where=item.id)
        classes += item.tags
        maps = [label_map(cams, truth.shape, threshold=threshold) for threshold in GRID.maps]
        steady.append(steadiness(maps, item.tags, reach=GRID.reach))
    signs = np.concatenate(steady)
    chosen = choose(
        Signs(np.array(classes), signs, np.full_like(signs, np.nan)), GRID.tried, num_classes=split.classes
    ).threshold
    result = curve.result()
    thresholds = [point.threshold for point in result.points]
    values = np.array([point.scores.miou for point in result.points])
    return {
        "by_masks": {"threshold": result.best.threshold, **figures(result.best.scores)},
        "without": {"threshold": chosen, "miou": share(at(thresholds, values, chosen))},
    }


def looked_at(dataset: TaggedDataset) -> Iterator[tuple[Item, np.ndarray, np.ndarray]]:
    """Items with their photos and masks."""
    for item in dataset.items:
        truth = dataset.mask(item)
        assert truth is not None
        yield item, dataset.photo(item), truth


def share(percent: float) -> float | None:
    """A figure in 0..1 ready for JSON; None where it does not exist."""
    return None if np.isnan(percent) else round(float(percent) / 100, 4)


def figures(scores: Any) -> dict[str, Any]:
    """mIoU and the IoU of background and classes, 0..1."""
    return {"miou": share(scores.miou), "iou": [share(iou) for iou in scores.iou]}


def tried(split: Split) -> tuple[float, list[float]]:
    """The threshold without masks, and all that are tried."""
    cam = read_json(split.folder / "cam.json")
    about = [round(min(0.9, max(0.04, cam["by_masks"]["threshold"] + step)), 2) for step in AROUND]
    return cam["without"]["threshold"], sorted({cam["without"]["threshold"], *about})


def regions_of(split: Split, item: Item, photo: np.ndarray) -> Regions:
    """The regions that label maps are painted from, made once."""
    folder = split.folder / "regions"
    if not (folder / f"{item.id}{SUFFIX}").is_file():
        write_regions(folder, item.id, make_proposer(REGIONS)(photo))
    return read_regions(folder, item.id)


def make_labels(split: Split, method: Any) -> dict[str, Any]:
    """Label maps of a method at several thresholds; kept are those of the threshold without masks, and of the best."""
    chosen, thresholds = tried(split)
    store = CamStore(split.folder / "cams")
    labeller = make_label_method(LabelSettings(method=method), regions=REGIONS, crf=CRF, num_classes=split.classes)
    confusions = {threshold: np.zeros((split.classes + 1, split.classes + 2), np.int64) for threshold in thresholds}
    for item, photo, truth in looked_at(split.photos):
        given = LabelInput(
            id=item.id,
            cams=store.read(item.id),
            shape=truth.shape,
            size=truth.shape,
            tags=item.tags,
            photo=partial(np.asarray, photo),
            regions=partial(regions_of, split, item, photo),
        )
        maps = labeller.sweep(given, thresholds)
        for threshold, labels in zip(thresholds, maps, strict=True):
            confusions[threshold] += confusion_matrix(truth, labels, num_classes=split.classes, where=item.id)
            write_label_png(split.map_path(f"{method}-{threshold:.2f}", item), labels)
    scores = {threshold: scores_from_confusion(confusion) for threshold, confusion in confusions.items()}
    best = max(thresholds, key=lambda threshold: scores[threshold].miou)
    return {
        "by_masks": {"threshold": best, **figures(scores[best])},
        "without": {"threshold": chosen, **figures(scores[chosen])},
    }


def make_bank(split: Split, which: str) -> dict[str, Any]:
    """The bank of the label maps at one of the two thresholds, on its own photos with tags and on others without."""
    model, crf = generator(split), DenseCrf(CRF)
    thresholds = {name: read_json(split.folder / f"{BEFORE}.json")[name]["threshold"] for name in WHICH}
    threshold = thresholds[which]
    if which == "by_masks" and thresholds["without"] == threshold:
        return {key: value for key, value in read_json(split.folder / "bank-without.json").items() if key != "seconds"}
    seen = {
        item.id: (cnn_features(model.network, photo), make_proposer(SUPERPIXELS)(photo))
        for item, photo, _ in looked_at(split.photos)
    }
    entries = [
        entries_of(*seen[item.id], split.labels(f"{BEFORE}-{threshold:.2f}", item), BANK) for item in split.photos.items
    ]
    bank = RegionBank.fit(entries, BANK, seed=split.seed)
    tally = Tally(split)
    for number, (item, photo, truth) in enumerate(looked_at(split.photos)):
        plain = bank.label(*seen[item.id], tags=item.tags, without=number)
        final = refined(crf, plain, photo=photo, tags=item.tags).labels
        tally.add("plain", truth, plain.labels, item)
        tally.add("bank", truth, final, item)
        if which == "without":
            write_label_png(split.map_path("bank", item), final)
    if which == "without":
        for item, photo, truth in looked_at(split.others):
            free = bank.label(cnn_features(model.network, photo), make_proposer(SUPERPIXELS)(photo), tags=None)
            tally.add("segmenter", truth, free_refined(crf, free, photo), item)
    return {"threshold": threshold, "entries": len(bank.values)} | tally.result()


def free_refined(crf: DenseCrf, free: Scored, photo: np.ndarray) -> np.ndarray:
    """A label map after the CRF, which may give the classes that occur in it."""
    tags = tuple(int(value) - 1 for value in np.unique(free.labels) if value)
    return refined(crf, free, photo=photo, tags=tags).labels


class Tally:
    """Scores of several kinds of label maps."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.confusions: dict[str, np.ndarray] = {}
        self.boundaries: dict[str, BoundaryAccumulator] = {}

    def add(self, kind: str, truth: np.ndarray, labels: np.ndarray, item: Item) -> None:
        counts = confusion_matrix(truth, labels, num_classes=self.split.classes, where=item.id)
        self.confusions[kind] = self.confusions.get(kind, 0) + counts
        self.boundaries.setdefault(kind, BoundaryAccumulator(self.split.classes)).add(truth, labels)

    def result(self) -> dict[str, Any]:
        return {
            kind: figures(scores_from_confusion(confusion))
            | {"boundary": share(mean_of_known(self.boundaries[kind].result()))}
            for kind, confusion in self.confusions.items()
        }


def measure(split: Split, rows: Path | None) -> dict[str, Any]:
    """All figures of a split."""
    steps = {
        "warmup": split.cell("warmup", partial(warm_up, split)),
        "cam": split.cell("cam", partial(make_cams, split)),
    }
    for method in ("crf", "regions", "regions+crf"):
        steps[method] = split.cell(method, partial(make_labels, split, method))
    for which in WHICH:
        steps[f"bank-{which}"] = split.cell(f"bank-{which}", partial(make_bank, split, which))
    if rows is not None:
        draw_rows(split, rows / split.folder.name)
    return {
        "cam": steps["cam"]["without"]["miou"],
        "cam_by_masks": steps["cam"]["by_masks"]["miou"],
        "labels": steps["bank-without"]["bank"]["miou"],
        "labels_by_masks": steps["bank-by_masks"]["bank"]["miou"],
        "segmenter": steps["bank-without"]["segmenter"]["miou"],
        "boundary": steps["bank-without"]["bank"]["boundary"],
        "seconds": round(sum(step["seconds"] for step in steps.values()), 1),
        "steps": steps,
    }


def draw_rows(split: Split, folder: Path, *, count: int = 5, height: int = 160) -> None:
    """Pictures of the best, the middle and the worst photos, `count` rows each: best.jpg, middle.jpg, worst.jpg."""
    store, before = CamStore(split.folder / "cams"), read_json(split.folder / f"{BEFORE}.json")["without"]["threshold"]
    ranked: list[tuple[float, Item]] = []
    for item, _, truth in looked_at(split.photos):
        labels, value = split.labels("bank", item), item.tags[0] + 1
        masks = (labels == value, truth == value)
        either, both = (int(np.count_nonzero(joined)) for joined in (masks[0] | masks[1], masks[0] & masks[1]))
        ranked.append((both / max(1, either), item))
    ranked.sort(key=lambda pair: -pair[0])
    middle = max(0, (len(ranked) - count) // 2)
    parts = {"best": ranked[:count], "middle": ranked[middle : middle + count], "worst": ranked[-count:]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        rows = []
        for item, photo, truth in looked_at(with_items(split.photos, [item for _, item in chosen])):
            heat = (255 * winner_map(store.read(item.id), truth.shape)[1].clip(0, 1)).astype(np.uint8)
            maps = (split.labels(f"{BEFORE}-{before:.2f}", item), split.labels("bank", item), truth)
            row = [photo, np.repeat(heat[..., None], 3, axis=2), *map(colour, maps)]
            size = (max(1, round(height * truth.shape[1] / truth.shape[0])), height)
            rows.append(np.concatenate([np.asarray(Image.fromarray(tile).resize(size)) for tile in row], axis=1))
        width = max(row.shape[1] for row in rows)
        page = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
        Image.fromarray(page).save(folder / f"{name}.jpg", quality=85)


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over splits of the figures, and each split's own."""
    keys = ("cam", "cam_by_masks", "labels", "labels_by_masks", "segmenter", "boundary", "seconds")
    return {key: round(statistics.fmean(one[key] for one in results), 4) for key in keys} | {"splits": list(results)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--half", choices=("choose", "report"), default="report")
    parser.add_argument("--rows", type=Path)
    chosen = parser.parse_args()
    dataset = open_dataset(chosen.data)
    cells = chosen.json.with_name(f"{chosen.json.name}.cells")
    results = []
    for number in range(chosen.splits):
        split = drawn(dataset, half=chosen.half, split=number, count=chosen.photos, folder=cells)
        results.append(measure(split, chosen.rows))
        write_json(chosen.json, summary(results))
        print({key: value for key, value in summary(results).items() if key != "splits"}, flush=True)


if __name__ == "__main__":
    main()
