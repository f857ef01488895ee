"""Tags that are most worth a look, and proposals for photos without any, by the run's judge, which never saw tags.

Every photo's features are those that the judge (CLIP, unless the recipe names another) has of the whole photo; they are
kept (`run.photo_features`). What they say of a tag is learned from the other photos alone (`evaluation.tagging`), as in
the look at tags and judge that a run makes.
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
from semples.data.dataset import Item
from semples.data.fetch.coco import csv_text
from semples.data.listing import list_photos
from semples.data.open_tags import MARK
from semples.data.tag_tables import tag_tables
from semples.evaluation.tagging import Foretold, doubts, foretold
from semples.run.context import Context
from semples.run.photo_features import photo_features
from semples.run.turned_tags import FEW

if TYPE_CHECKING:
    from semples.judges.base import Judge

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
        self.items, self.feature_nD = self._features(items)
        self.tag_nK, self.known_nK = tag_tables(self.items, len(self.dataset.classes))

    @cached_property
    def foretold(self) -> Foretold:
        """What the photos tell of the tags."""
        return foretold(self.feature_nD, self.tag_nK, self.known_nK)

    def suspects(self, *, count: int) -> list[Suspect]:
        """The `count` tags most worth a look, the most doubtful first; those left open are none."""
        told_nK, names = self.foretold.left_out_nK, self.dataset.classes.names
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
        items, other_mD = self._features([Item(path, root / path, ()) for path in paths])
        told_mK = self.foretold.of(other_mD)
        names = self.dataset.classes.names
        return [
            Proposal(
                item.id,
                tuple(name for name, share in zip(names, row, strict=True) if share >= SURE),
                tuple(name for name, share in zip(names, row, strict=True) if MAYBE <= share < SURE),
            )
            for item, row in zip(items, told_mK, strict=True)
        ]

    @cached_property
    def _judge(self) -> Judge:
        """The run's judge, for the classes as they are now. A judge that learns from the tags knows them already: what
        is asked of it are its features, which did not."""
        from semples.judges.base import build_judge

        judge = build_judge(self.context.recipe.judge, classes=self.dataset.classes)
        return judge.lean().to(self.context.engine.device)

    def _features(self, items: Sequence[Item]) -> tuple[tuple[Item, ...], NDArray[np.float64]]:
        """The photos that can be read, and the judge's features (n,D) of them."""
        recipe = self.context.recipe
        kept, features = photo_features(self._judge, self.dataset, items, recipe=recipe, bits=recipe.data.bits)
        return tuple(kept), features.astype(np.float64)


def write_proposals(path: Path, proposals: Sequence[Proposal]) -> None:
    """A table `image,tags` of proposals, likely tags as they are, doubtful ones left open (`dog?`)."""
    rows = [(one.photo, ";".join([*one.tags, *(f"{name}{MARK}" for name in one.open)])) for one in proposals]
    write_text(path, csv_text([("image", "tags"), *rows]))
