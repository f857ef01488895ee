"""How good are label maps and segmenters of real photos, from their tags alone? The whole way, on exact masks.

    OMP_NUM_THREADS=1 python benchmarks/real.py --data DIR --json F [--splits 3] [--photos 200] [--half develop]
        [--rows ROWS] [--until labels]

DIR: a folder with tags.csv, classes.txt and masks. Photos are divided by a hash of their names into two halves,
`develop` and `report`: settings are chosen on the one, figures are taken on the other. A split draws `--photos` of a
half; they are trained on by their tags and then labelled, and as many others are segmented without tags. Each finished
cell is a JSON file in the folder F.cells and is not computed again, so a benchmark that was cut goes on where it was.

Every step is that of the recipe `folder-light`. F gets, as mIoU in 0..1 with the background: `cam` (threshold without
masks), `cam_by_masks`, `labels` (regions and CRF at the threshold without masks, then region bank and CRF),
`labels_by_masks`, `bank` (the bank on other photos, no training, no tags), `segmenter` (the light segmenter, trained on
`labels`, on the same other photos), `boundary` (boundary IoU of `labels`), `seconds` of the way to the segmenter by the
clock, `cpu_seconds` of the same, and `steps` with every figure on the way. --rows: a folder for pictures of the best,
the middle and the worst photos: photo, CAM, label map before and after the bank, truth; and of other photos: photo,
bank, segmenter, truth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from real_rows import draw_rows
from real_split import Split, Tally, digest, drawn, figures, looked_at, share
from semples.cams.make import photo_cams
from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.core.palette import read_label_png, write_confidence_png, write_label_png
from semples.data.dataset import Item, open_dataset
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.evaluation.selection import Grid, Signs, at, background_steadiness, choose, steadiness
from semples.features.base import Features, make_features
from semples.generators.base import build_generator, load_generator, save_generator
from semples.generators.cnn import CnnGenerator
from semples.labels.bank_method import Bank
from semples.labels.base import LabelInput, LabelMethod
from semples.labels.crf.dense import DenseCrf
from semples.labels.make import make_label_method
from semples.labels.proposals.base import make_proposer
from semples.labels.refined import refined
from semples.labels.regions import SUFFIX, Regions, read_regions, write_regions
from semples.labels.scored import Scored, Thresholds
from semples.labels.threshold import label_map, winner_map
from semples.prediction.model import SegmenterModel
from semples.prediction.settings import predict_settings
from semples.recipe import LabelSettings, Recipe, RunSettings, load_recipe
from semples.segmenter.build import Segmenter, SegmenterConfig, build_segmenter
from semples.segmenter.task import Segmentation
from semples.segmenter.views import CONFIDENCE, LabelFolder, MaskedViews
from semples.settings.bank import BankLabelSettings
from semples.stages.warmup import Warmup
from semples.training.engine import Engine
from semples.training.feed import Views, tag_matrix
from semples.training.loop import train

RECIPE: Recipe = load_recipe("folder-light")
LABELS = RECIPE.labels
GRID = Grid(reach=4)
BEFORE = "regions+crf"
"""The label maps that the bank is made of."""
WHICH = ("without", "by_masks")
"""Where a threshold comes from."""
AROUND = (-0.16, -0.08, 0.0, 0.08, 0.16)
"""Thresholds that label maps are tried at by masks, about the best of the CAMs by masks."""


def weights(split: Split) -> Path:
    return split.folder / "generator.safetensors"


def warm_up(split: Split) -> dict[str, Any]:
    """Train the generator on the tags."""
    settings, warmup = RECIPE.generator, RECIPE.warmup
    model = build_generator(settings, classes=split.photos.classes, seed=split.seed)
    views = Views(
        dataset=split.photos,
        tags=tag_matrix(split.photos),
        augment=warmup.augment,
        size=model.view_side(settings.image_size),
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
        settings=warmup,
        run=run,
        workers=0,
        folder=split.folder,
        fingerprint=digest(repr((settings, warmup))),
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
    classes, steady, around = list[int](), list[np.ndarray](), list[np.ndarray]()
    for item, photo, truth in looked_at(split.photos):
        if not store.has(item.id):
            made = photo_cams(model, [photo], [item.tags], settings=RECIPE.cams)[0]
            store.write(item.id, made, photo.shape[:2])
        cams = store.read(item.id)
        curve.add(truth, *winner_map(cams, truth.shape), where=item.id)
        classes += item.tags
        maps = [label_map(cams, truth.shape, threshold=threshold) for threshold in GRID.maps]
        steady.append(steadiness(maps, item.tags, reach=GRID.reach))
        around += [background_steadiness(maps, item.tags, reach=GRID.reach)] * len(item.tags)
    signs = np.concatenate(steady)
    chosen = choose(
        Signs(np.array(classes), signs, np.full_like(signs, np.nan), np.stack(around)),
        GRID.tried,
        num_classes=split.classes,
    ).threshold
    result = curve.result()
    thresholds = [point.threshold for point in result.points]
    values = np.array([point.scores.miou for point in result.points])
    return {
        "by_masks": {"threshold": result.best.threshold, **figures(result.best.scores)},
        "without": {"threshold": chosen, "miou": share(at(thresholds, values, chosen))},
    }


def tried(split: Split) -> tuple[float, list[float]]:
    """The threshold without masks, and all that are tried."""
    cam = read_json(split.folder / "cam.json")
    about = [round(min(0.9, max(0.04, cam["by_masks"]["threshold"] + step)), 2) for step in AROUND]
    return cam["without"]["threshold"], sorted({cam["without"]["threshold"], *about})


def regions_of(split: Split, item: Item, photo: np.ndarray) -> Regions:
    """The regions that label maps are painted from, made once."""
    folder = split.folder / "regions"
    if not (folder / f"{item.id}{SUFFIX}").is_file():
        write_regions(folder, item.id, make_proposer(RECIPE.regions)(photo))
    return read_regions(folder, item.id)


def make_labels(split: Split, method: Any) -> dict[str, Any]:
    """Label maps of a method at several thresholds; kept are those of the threshold without masks, and of the best."""
    chosen, thresholds = tried(split)
    store = CamStore(split.folder / "cams")
    if method != BEFORE:
        thresholds = [chosen]
    labeller = make_label_method(
        LabelSettings(method=method), regions=RECIPE.regions, crf=RECIPE.crf, num_classes=split.classes
    )
    confusions = {threshold: np.zeros((split.classes + 1, split.classes + 2), np.int64) for threshold in thresholds}
    for item, photo, truth in looked_at(split.photos):
        maps = labeller.sweep(told(split, item, photo, cams=store.read(item.id)), thresholds)
        for threshold, labels in zip(thresholds, maps, strict=True):
            confusions[threshold] += confusion_matrix(truth, labels, num_classes=split.classes, where=item.id)
            write_label_png(split.map_path(f"{method}-{threshold:.2f}", item), labels)
    scores = {threshold: scores_from_confusion(confusion) for threshold, confusion in confusions.items()}
    best = max(thresholds, key=lambda threshold: scores[threshold].miou)
    return {
        "by_masks": {"threshold": best, **figures(scores[best])},
        "without": {"threshold": chosen, **figures(scores[chosen])},
    }


def told(
    split: Split, item: Item, photo: np.ndarray, *, cams: Any = None, network: Features | None = None
) -> LabelInput:
    """What a label method is told of a photo."""
    size = (photo.shape[0], photo.shape[1])
    return LabelInput(
        id=item.id,
        cams=cams or {},
        shape=size,
        size=size,
        tags=item.tags,
        photo=partial(np.asarray, photo),
        regions=partial(regions_of, split, item, photo),
        features=lambda: network(photo) if network is not None else np.zeros((1, 1, 1), np.float32),
    )


class Stored(LabelMethod):
    """Label maps that an earlier cell has made."""

    def __init__(self, split: Split, kind: str) -> None:
        super().__init__(LabelSettings(), regions=RECIPE.regions, num_classes=split.classes)
        self.split, self.kind = split, kind

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """The stored map, as sure as can be."""
        labels = read_label_png(self.split.folder / self.kind / f"{photo.id}.png")
        values = np.array([0, *(tag + 1 for tag in photo.tags)], np.uint8)
        return Scored(values, (labels == values[:, None, None]).astype(np.float32), labels)


def make_bank(split: Split, which: str) -> dict[str, Any]:
    """The bank of the label maps at one of the two thresholds, on its own photos with tags and on others without."""
    crf, network = DenseCrf(RECIPE.crf), make_features(RECIPE.features)
    thresholds = {name: read_json(split.folder / f"{BEFORE}.json")[name]["threshold"] for name in WHICH}
    threshold = thresholds[which]
    if which == "by_masks" and thresholds["without"] == threshold:
        same = read_json(split.folder / "bank-without.json")
        return {key: value for key, value in same.items() if not key.endswith("seconds")}
    assert isinstance(LABELS, BankLabelSettings)
    bank = Bank(replace(LABELS, method="bank"), regions=RECIPE.regions, num_classes=split.classes)
    bank.before = Stored(split, f"{BEFORE}-{threshold:.2f}")
    bank.fit(told(split, item, photo, network=network) for item, photo, _ in looked_at(split.photos))
    tally = Tally(split)
    for item, photo, truth in looked_at(split.photos):
        plain = bank.score(told(split, item, photo, network=network), threshold)
        final = refined(crf, plain, photo=photo, tags=item.tags)
        tally.add("plain", truth, plain.labels, item)
        tally.add("bank", truth, final.labels, item)
        if which == "without":
            write_label_png(split.map_path("bank", item), final.labels)
            write_confidence_png(split.folder / "bank" / CONFIDENCE / f"{item.id}.png", final.confidence)
    if which == "without":
        for item, photo, truth in looked_at(split.others):
            free = bank.named(told(split, item, photo, network=network), tags=None)
            labels = free_refined(crf, free, photo)
            tally.add("free", truth, labels, item)
            write_label_png(split.map_path("free", item), labels)
    assert bank.bank is not None
    return {"threshold": threshold, "entries": len(bank.bank.values)} | tally.result()


def free_refined(crf: DenseCrf, free: Scored, photo: np.ndarray) -> np.ndarray:
    """A label map after the CRF, which may give the classes that occur in it."""
    tags = tuple(int(value) - 1 for value in np.unique(free.labels) if value)
    return refined(crf, free, photo=photo, tags=tags).labels


def make_segmenter(split: Split) -> dict[str, Any]:
    """The light segmenter, trained on the bank's label maps, on other photos without tags."""
    settings, run = RECIPE.segmenter, RunSettings(seed=split.seed)
    assert isinstance(settings.image_size, int)
    config = SegmenterConfig(
        classes=split.photos.classes.names, size=settings.image_size, mean=settings.mean, std=settings.std
    )
    made = build_segmenter(settings.model, config=config, seed=split.seed, view=settings.image_size, kind=settings.kind)
    task = Segmentation(made, settings)
    train(
        task,
        MaskedViews(
            dataset=split.photos, labels=LabelFolder(split.folder / "bank"), settings=settings, seed=split.seed
        ),
        engine=Engine.start(run),
        settings=settings,
        run=run,
        workers=0,
        folder=split.folder / "training",
        fingerprint=digest(repr(settings)),
        label="segmenter",
    )
    trained: Segmenter = task.finish()
    trained.save(split.folder / "segmenter")
    begin, tally = time.perf_counter(), Tally(split)
    for kind, crf in (("segmenter", False), ("segmenter+crf", True)):
        model = SegmenterModel(trained, settings=predict_settings(crf=crf), identity={}, crf=RECIPE.crf)
        for item, photo, truth in looked_at(split.others):
            labels = model.predict(photo)
            tally.add(kind, truth, labels, item)
            write_label_png(split.map_path(kind, item), labels)
    return tally.result() | {"scoring": round(time.perf_counter() - begin, 1)}


def measure(split: Split, *, rows: Path | None, until: str) -> dict[str, Any]:
    """All figures of a split."""
    steps = {
        "warmup": split.cell("warmup", partial(warm_up, split)),
        "cam": split.cell("cam", partial(make_cams, split)),
    }
    for method in (BEFORE, "crf", "regions"):
        steps[method] = split.cell(method, partial(make_labels, split, method))
    steps["bank-without"] = split.cell("bank-without", partial(make_bank, split, "without"))
    if until == "segmenter":
        steps["segmenter"] = split.cell("segmenter", partial(make_segmenter, split))
    steps["bank-by_masks"] = split.cell("bank-by_masks", partial(make_bank, split, "by_masks"))
    if rows is not None:
        before = f"{BEFORE}-{steps[BEFORE]['without']['threshold']:.2f}"
        cams = CamStore(split.folder / "cams")
        draw_rows(split.photos, split.folder, rows / split.folder.name, cams=cams, kinds=(before, "bank"))
        free = tuple(kind for kind in ("free", "segmenter") if (split.folder / kind).is_dir())
        draw_rows(split.others, split.folder, rows / f"{split.folder.name}-others", cams=None, kinds=free)
    free = steps["bank-without"]["free"]
    way = ("warmup", "cam", BEFORE, "bank-without", "segmenter")
    return {
        "cam": steps["cam"]["without"]["miou"],
        "cam_by_masks": steps["cam"]["by_masks"]["miou"],
        "crf": steps["crf"]["without"]["miou"],
        "before": steps[BEFORE]["without"]["miou"],
        "labels": steps["bank-without"]["bank"]["miou"],
        "labels_by_masks": steps["bank-by_masks"]["bank"]["miou"],
        "bank": free["miou"],
        "segmenter": steps.get("segmenter", {}).get("segmenter", {}).get("miou"),
        "boundary": steps["bank-without"]["bank"]["boundary"],
        "seconds": round(sum(steps[name]["seconds"] for name in way if name in steps), 1),
        "cpu_seconds": known_sum([steps[name].get("cpu_seconds") for name in way if name in steps]),
        "steps": steps,
    }


def known_sum(values: Sequence[float | None]) -> float | None:
    """None where one is not known (cells of before it was measured)."""
    known = [value for value in values if value is not None]
    return round(sum(known), 1) if len(known) == len(values) else None


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over splits of the figures, and each split's own."""
    keys = [key for key in results[0] if key != "steps" and all(one[key] is not None for one in results)]
    return {key: round(statistics.fmean(one[key] for one in results), 4) for key in keys} | {"splits": list(results)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--half", choices=("develop", "report"), default="report")
    parser.add_argument("--until", choices=("labels", "segmenter"), default="segmenter")
    parser.add_argument("--rows", type=Path)
    chosen = parser.parse_args()
    dataset = open_dataset(chosen.data)
    cells = chosen.json.with_name(f"{chosen.json.name}.cells")
    results = []
    for number in range(chosen.splits):
        split = drawn(dataset, half=chosen.half, split=number, count=chosen.photos, folder=cells)
        results.append(measure(split, rows=chosen.rows, until=chosen.until))
        write_json(chosen.json, summary(results))
        print({key: value for key, value in summary(results).items() if key != "splits"}, flush=True)


if __name__ == "__main__":
    main()
