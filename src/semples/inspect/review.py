"""Which photos' label maps are most worth a human look, and for which share of them the maps can be taken as they are.

The second is risk against coverage (El-Yaniv & Wiener 2010) over whole photos: the surest ones first, how many of their
pixels are wrong. With masks that is measured; else it is an estimate: a photo's doubt (1 minus its mean confidence)
times the share of it that turned out wrong, on the photos that a person has corrected or, where these are few and a
judge stood by, on drawn worlds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.palette import read_confidence_png, read_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.data.dataset import IGNORE, Item, PhotoError, TaggedDataset
from semples.run.context import Context
from semples.run.corrections import Corrected, corrected
from semples.run.label_maps import CONFIDENCE
from semples.settings.judges import NO_JUDGE

COVERAGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ENOUGH = 10  # corrected photos that say more of this run than drawn worlds do
# Wrong pixels a unit of doubt on drawn worlds (seed 0 of the demo, 300 photos, its label method `regions+crf`).
DRAWN = 0.27
BASES = {
    "masks": "measured with the photos' masks",
    "corrections": "an estimate from confidences and the corrected photos; no other mask was looked at",
    "drawn": "an estimate from confidences, scaled by drawn worlds; no mask was looked at",
    "unknown": f"not estimated: without a judge confidences say too little; correct {ENOUGH} photos, and it is",
}


@dataclass(frozen=True)
class Looked:
    """A photo's label map: certainty 0..1 (see `certainty`), doubt 0..1 (1 minus the mean confidence), names of tags of
    which no pixel is labelled, and the share of wrong pixels (0..1) where the photo has a mask."""

    item: Item
    certainty: float
    doubt: float
    missing: tuple[str, ...]
    wrong: float | None = None


def most_worth_a_look(context: Context, *, count: int) -> list[dict[str, Any]]:
    """The `count` photos of a run with the lowest certainty, lowest first; see `listed`."""
    return listed(look(context), count=count)


def listed(seen: list[Looked], *, count: int) -> list[dict[str, Any]]:
    """The `count` least certain photos as plain data: `photo`, `file`, `certainty` 0..1 and `missing`, the names of
    tags of which no pixel is labelled."""
    first = sorted(seen, key=lambda one: (round(one.certainty, 4), one.item.id))[:count]
    return [
        {
            "photo": one.item.id,
            "file": str(one.item.photo),
            "certainty": round(one.certainty, 4),
            "missing": list(one.missing),
        }
        for one in first
    ]


def look(context: Context) -> list[Looked]:
    """Every photo of a run that nobody has corrected yet, in the dataset's order."""
    by_hand = corrected(context)
    dataset = _with_masks(context)
    names, folder = dataset.classes.names, context.folder("labels")
    seen, judged = [], _judged(context)
    for item in track([item for item in dataset.items if item.id not in by_hand], label="review"):
        labels, confidence = read_photo_labels(folder, item)
        missing = tuple(names[tag] for tag in item.tags if not (labels == tag + 1).any())
        doubt = float(1 - confidence.mean(dtype=np.float64))
        seen.append(
            Looked(
                item,
                certainty(labels, confidence, item.tags, judged=judged),
                doubt,
                missing,
                _wrong(dataset, item, labels),
            )
        )
    return seen


def coverage(context: Context, seen: list[Looked]) -> dict[str, Any]:
    """For growing shares of the photos, the surest first, the share of wrong pixels among theirs (0..1, all photos
    alike): `rows` with `coverage`, `photos` and `wrong`; `basis`: a key of `BASES`; `about`. No rows where nothing can
    be said: on real photos, label maps made without a judge had from 2.4 to 7.8 times the wrong pixels that their
    confidences stand for on drawn worlds."""
    known = [one for one in seen if one.wrong is not None]
    basis, chosen = ("masks", known) if known else ("drawn" if _judged(context) else "unknown", seen)
    factor = DRAWN
    if not known:
        rate = _rate(corrected(context))
        if rate is not None:
            basis, factor = "corrections", rate
    if basis == "unknown":
        return {"basis": basis, "about": BASES[basis], "photos": len(chosen), "rows": []}
    ordered = sorted(chosen, key=lambda one: -one.certainty)
    wrong = [one.wrong if one.wrong is not None else min(1.0, factor * one.doubt) for one in ordered]
    rows = []
    for share in COVERAGES:
        kept = round(share * len(ordered))
        if kept:
            rows.append({"coverage": share, "photos": kept, "wrong": round(float(np.mean(wrong[:kept])), 4)})
    return {"basis": basis, "about": BASES[basis], "photos": len(ordered), "rows": rows}


def _judged(context: Context) -> bool:
    """Whether the run has a judge."""
    return context.recipe.judge.kind != NO_JUDGE


def _rate(given: Corrected) -> float | None:
    """Wrong pixels a unit of doubt on the corrected photos; None for too few."""
    told = [(entry.wrong, entry.doubt) for entry in given.entries.values()]
    pairs = [(wrong, doubt) for wrong, doubt in told if wrong is not None and doubt is not None]
    doubts = sum(doubt for _, doubt in pairs)
    return sum(wrong for wrong, _ in pairs) / doubts if len(pairs) >= ENOUGH and doubts > 0 else None


def _with_masks(context: Context) -> TaggedDataset:
    try:
        return context.scored_dataset
    except UserError:  # the photos' folder is not at hand
        return context.dataset


def _wrong(dataset: TaggedDataset, item: Item, labels: NDArray[np.uint8]) -> float | None:
    try:
        truth = dataset.mask(item)
    except PhotoError:
        return None
    if truth is None or truth.shape != labels.shape or not (truth != IGNORE).any():
        return None
    return float((labels != truth)[truth != IGNORE].mean())


def read_photo_labels(folder: Path, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and confidences (H,W) of a photo from a folder of label maps."""
    labels = read_label_png(place_of(folder, item.id, ".png"))
    return labels, read_confidence_png(place_of(folder / CONFIDENCE, item.id, ".png"))


def certainty(
    labels: NDArray[np.uint8], confidence: NDArray[np.float32], tags: tuple[int, ...], *, judged: bool = True
) -> float:
    """How sure a photo's labels are, 0..1. `labels` uint8 (H,W), `confidence` float32 (H,W).

    judged: made with a judge: the `expected_iou` of the worst tag, 0 for a tag without a pixel; the mean confidence of
    a photo without tags. Without a judge: the mean confidence, halved where a tag has no pixel. On real photos that
    finds wrong pixels where the other finds no more than chance; on drawn worlds with a judge, photos that were
    corrected in the order of the other helped the segmenter more (benchmarks/README.md).
    """
    mean = float(confidence.mean(dtype=np.float64))
    worst = min((expected_iou(labels, confidence, tag) for tag in tags), default=mean)
    if judged:
        return worst
    return mean if worst or not tags else mean / 2


def expected_iou(labels: NDArray[np.uint8], confidence: NDArray[np.float32], tag: int) -> float:
    """An IoU such as one would expect, 0..1: with confidences c taken for chances, a class that is labelled on the
    pixels P has about sum_P c of them right, and misses about the sum of 1 - c over the others: (sum_P c) / (|P| +
    sum_not-P (1 - c)). 0 for a tag without a pixel."""
    inside = confidence[labels == tag + 1].astype(np.float64)
    if not len(inside):
        return 0.0
    doubt = float((1 - confidence).sum(dtype=np.float64))
    return float(inside.sum() / (len(inside) + doubt - (1 - inside).sum()))
