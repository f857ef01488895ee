"""Splits of real photos, a JSON file for each finished cell, and the figures of label maps (benchmarks/real.py)."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semples.core.files import read_json, write_json
from semples.data.dataset import Item, TaggedDataset, with_items
from semples.evaluation.boundary import BoundaryAccumulator
from semples.evaluation.confusion import confusion_matrix, mean_of_known, scores_from_confusion


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
        begin, cpu = time.perf_counter(), cpu_seconds()
        figures = compute()
        taken = {"seconds": time.perf_counter() - begin, "cpu_seconds": cpu_seconds() - cpu}
        write_json(path, figures | {key: round(value, 1) for key, value in taken.items()})
        return self.cell(name, compute)

    def map_path(self, kind: str, item: Item) -> Path:
        return self.folder / kind / f"{item.id}.png"


def cpu_seconds() -> float:
    """Processor seconds of this process and of its finished children: what `seconds` are on a quiet machine."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


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
