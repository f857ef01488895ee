"""Tags that the other photos contradict, turned over before anything learns from them (`data.turn_tags`).

A photo's features are the judge's, of the whole photo, which never saw a tag; what they say of a tag is learned from
the tags of the other photos alone (`evaluation.tagging.foretold`), as a logistic curve fitted to all: where a tenth of
the tags is missing, nine in ten is the most that it says of any. Tags that are left open stay so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from semples.core.files import write_text
from semples.data.dataset import Item, TaggedDataset
from semples.data.fetch.coco import csv_text
from semples.data.tag_tables import tag_tables
from semples.evaluation.tagging import foretold, turned
from semples.run.photo_features import photo_features
from semples.run.work import Work

FILE = "turned_tags.csv"
FEW = 10  # photos; from fewer nothing can be learned of tags


@dataclass(frozen=True)
class Turned:
    """A tag that was turned over: whether it was there, and the probability that the other photos give the class."""

    photo: str
    name: str
    tagged: bool
    probability: float


def turned_over(
    work: Work, dataset: TaggedDataset, items: Sequence[Item], *, least: float
) -> tuple[tuple[Item, ...], list[Turned]]:
    """The items with their tags turned over where contradicted, and what was turned, the surest first.

    least: probability, 0..1, from which on a tag counts as contradicted. Raises UserError where no judge can be had.
    """
    from semples.judges.base import build_judge

    judge = build_judge(work.settings("judge"), classes=dataset.classes).lean().to(work.device)
    recipe = work.context.recipe
    for name in ("mean", "std"):
        work.setting(f"generator.{name}")
    known_items, feature_nD = photo_features(judge, dataset, items, recipe=recipe, bits=recipe.data.bits)
    if len(known_items) < FEW:
        return tuple(items), []
    tag_nK, known_nK = tag_tables(known_items, len(dataset.classes))
    told_nK = foretold(feature_nD.astype(np.float64), tag_nK, known_nK).left_out_nK
    wrong_nK = turned(told_nK, tag_nK, known_nK, least=least)
    made = {
        item.id: replace(item, tags=tuple(np.flatnonzero(row).tolist()))
        for item, row in zip(known_items, tag_nK ^ wrong_nK, strict=True)
    }
    listed = [
        Turned(known_items[n].id, dataset.classes.names[k], bool(tag_nK[n, k]), float(told_nK[n, k]))
        for n, k in np.argwhere(wrong_nK)
    ]
    listed.sort(key=lambda one: -abs(one.tagged - one.probability))
    return tuple(made.get(item.id, item) for item in items), listed


def write_turned(folder: Path, listed: Sequence[Turned]) -> None:
    """A table of what was turned over, a row a tag, in the folder of the data step."""
    rows = [(one.photo, one.name, "yes" if one.tagged else "no", f"{one.probability:.4f}") for one in listed]
    write_text(folder / FILE, csv_text([("photo", "class", "was tagged", "probability"), *rows]))
