"""Tags that are most worth a look, and proposals for photos without any, by the run's judge, which never saw tags.

Every photo's features are those that the judge (CLIP, unless the recipe names another) has of the whole photo. What
they say of a tag is learned from the other photos alone (`evaluation.crossfit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.progress import track
from semples.data.dataset import Item, TaggedDataset
from semples.data.fetch.coco import csv_text
from semples.data.listing import list_photos
from semples.data.open_tags import MARK
from semples.data.photos import PhotoError, read_photo, resize_photo
from semples.data.transforms import image_to_tensor
from semples.evaluation.crossfit import cross_fitted, doubts, predicted
from semples.run.context import Context

if TYPE_CHECKING:
    from semples.judges.base import Judge

BATCH = 64
FEW = 10  # photos; with less nothing can be learned of tags
SURE, MAYBE = 0.5, 0.2  # of a proposal: from here on a tag, from here on left open


@dataclass(frozen=True)
class Suspect:
    """A tag worth a look: it is there or not (`tagged`), and the other photos give it this probability."""

    photo: str
    file: Path
    name: str
    tagged: bool
    probability: float

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        told = {"photo": self.photo, "file": str(self.file), "class": self.name}
        return told | {"tagged": self.tagged, "probability": round(self.probability, 4)}


@dataclass(frozen=True)
class Proposal:
    """Tags proposed for a photo that has none: those likely, and those left open."""

    photo: str
    tags: tuple[str, ...]
    open: tuple[str, ...]


class TagCheck:
    """The check of a run's tags. Raises UserError where it has too few photos or no judge can be had."""

    def __init__(self, context: Context) -> None:
        self.context, self.dataset = context, context.listing
        items = self.dataset.items
        if len(items) < FEW:
            raise UserError(f"{context.source.root}: {len(items)} tagged photos; a check of tags needs at least {FEW}")
        usable = [(item, features) for item, features in self._features(items) if features is not None]
        self.items = tuple(item for item, _ in usable)
        self.feature_nD = np.stack([features for _, features in usable])
        self.tag_nK, self.known_nK = tag_tables(self.dataset, self.items)

    def suspects(self, *, count: int) -> list[Suspect]:
        """The `count` tags most worth a look, the most doubtful first."""
        told_nK = cross_fitted(self.feature_nD, self.tag_nK, self.known_nK)
        names = self.dataset.classes.names
        return [
            Suspect(item.id, item.photo, names[k], bool(self.tag_nK[n, k]), float(told_nK[n, k]))
            for n, k, _ in doubts(told_nK, self.tag_nK, self.known_nK)[:count]
            for item in (self.items[n],)
        ]

    def proposals(self) -> list[Proposal]:
        """Tags for the photos of the folder that nobody has tagged, by path."""
        root = self.dataset.root
        tagged = {item.photo.resolve() for item in self.dataset.items}
        paths = [path for path in list_photos(root).photos if (root / path).resolve() not in tagged]
        items = [Item(path, root / path, ()) for path in paths]
        usable = [(item, features) for item, features in self._features(items) if features is not None]
        if not usable:
            return []
        other_mD = np.stack([features for _, features in usable])
        told_mK = predicted(self.feature_nD, self.tag_nK, self.known_nK, other_mD)
        names = self.dataset.classes.names
        return [
            Proposal(
                item.id,
                tuple(name for name, share in zip(names, row, strict=True) if share >= SURE),
                tuple(name for name, share in zip(names, row, strict=True) if MAYBE <= share < SURE),
            )
            for (item, _), row in zip(usable, told_mK, strict=True)
        ]

    @cached_property
    def _judge(self) -> Judge:
        """The run's judge, for the classes as they are now. A judge that learns from the tags knows them already: what
        is asked of it are its features, which did not."""
        from semples.judges.base import build_judge

        judge = build_judge(self.context.recipe.judge, classes=self.dataset.classes)
        return judge.lean().to(self.context.engine.device)

    def _features(self, items: Sequence[Item]) -> list[tuple[Item, NDArray[np.float64] | None]]:
        """The judge's features of whole photos, None of one that cannot be read."""
        import torch

        judge, generator = self._judge, self.context.recipe.generator
        mean, std = judge.mean or generator.mean, judge.std or generator.std
        settings, answers = self.context.recipe.data, list[tuple[Item, NDArray[np.float64] | None]]()
        batch: list[tuple[Item, Any]] = []

        def encode() -> None:
            with torch.no_grad():
                features = judge.encode(torch.stack([view for _, view in batch]).to(judge.device))
            for (item, _), row in zip(batch, features.cpu().double().numpy(), strict=True):
                answers.append((item, row))
            batch.clear()

        for item in track(items, label="features"):
            try:
                photo = read_photo(item.photo, max_megapixels=settings.max_megapixels, bits=settings.bits)
            except PhotoError:
                answers.append((item, None))
                continue
            side = judge.image_size
            batch.append((item, image_to_tensor(resize_photo(photo, side, side), mean, std)))
            if len(batch) == BATCH:
                encode()
        if batch:
            encode()
        return answers


def tag_tables(dataset: TaggedDataset, items: Sequence[Item]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tags of photos, and which of them are known, each bool (n,K)."""
    tags = np.zeros((len(items), len(dataset.classes)), np.bool_)
    known = np.ones_like(tags)
    for row, certain, item in zip(tags, known, items, strict=True):
        row[list(item.tags)] = True
        certain[list(item.open)] = False
    return tags, known


def write_proposals(path: Path, proposals: Sequence[Proposal]) -> None:
    """A table `image,tags` of proposals, likely tags as they are, doubtful ones left open (`dog?`)."""
    rows = [(one.photo, ";".join([*one.tags, *(f"{name}{MARK}" for name in one.open)])) for one in proposals]
    write_text(path, csv_text([("image", "tags"), *rows]))
