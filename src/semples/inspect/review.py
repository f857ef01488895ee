"""Which photos' label maps are most worth a human look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.palette import read_confidence_png, read_label_png
from semples.core.progress import track
from semples.data.dataset import Item
from semples.run.context import Context
from semples.run.label_maps import CONFIDENCE


def most_worth_a_look(context: Context, *, count: int) -> list[dict[str, Any]]:
    """The `count` photos of a run with the lowest certainty, lowest first: `photo`, `file`, `certainty` 0..1 and
    `missing`, the names of tags of which no pixel is labelled."""
    names, folder = context.dataset.classes.names, context.folder("labels")
    entries = []
    for item in track(context.dataset.items, label="review"):
        labels, confidence = read_photo_labels(folder, item)
        missing = [names[tag] for tag in item.tags if not (labels == tag + 1).any()]
        certain = certainty(labels, confidence, item.tags)
        entries.append({"photo": item.id, "file": str(item.photo), "certainty": round(certain, 4), "missing": missing})
    return sorted(entries, key=lambda entry: (entry["certainty"], entry["photo"]))[:count]


def read_photo_labels(folder: Path, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and confidences (H,W) of a photo from a folder of label maps."""
    return read_label_png(folder / f"{item.id}.png"), read_confidence_png(folder / CONFIDENCE / f"{item.id}.png")


def certainty(labels: NDArray[np.uint8], confidence: NDArray[np.float32], tags: tuple[int, ...]) -> float:
    """How sure a photo's labels are, 0..1: an IoU such as one would expect, of its worst tag.

    With confidences c taken for chances, a class that is labelled on the pixels P has about sum_P c of them right, and
    misses about the sum of 1 - c over the others: (sum_P c) / (|P| + sum_not-P (1 - c)). A tag without a pixel gives 0.
    A photo without tags has the mean confidence. `labels` uint8 (H,W), `confidence` float32 (H,W).
    """
    doubt = float((1 - confidence).sum(dtype=np.float64))
    certainties = []
    for tag in tags:
        inside = confidence[labels == tag + 1].astype(np.float64)
        certainties.append(inside.sum() / (len(inside) + doubt - (1 - inside).sum()) if len(inside) else 0.0)
    return float(min(certainties)) if certainties else float(confidence.mean(dtype=np.float64))
