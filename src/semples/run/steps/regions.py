"""The step before label maps that are drawn by regions: the regions of every photo, stored one file a photo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.progress import counter
from semples.core.schema import leaves
from semples.data.dataset import Item, TaggedDataset
from semples.labels.base import REGIONS
from semples.labels.proposals.base import make_proposer
from semples.labels.regions import SUFFIX, Regions, read_regions, write_regions
from semples.networks.weights import source_digest
from semples.recipe import RegionSettings
from semples.run.context import Context, Step
from semples.run.steps.cams import reduced
from semples.settings.kinds import PROPOSALS, label_needs

NAME = "regions"
SCORING = ("background", "combine")  # used when labels are made; the regions do not depend on them

Propose = Callable[[NDArray[np.uint8]], Regions]


def step() -> Step:
    """Regions of every photo; part of a run where the recipe's label maps need them."""
    return Step(
        NAME,
        "region proposals",
        ("data",),
        _inputs,
        _run,
        partial=_partial,
        wanted=lambda recipe: REGIONS in label_needs(recipe.labels.method),
    )


def proposer(settings: RegionSettings, device: Any = None) -> Propose:
    """What makes the regions of a photo, uint8 (H,W,3), at the size that `settings.max_side` allows."""
    propose = make_proposer(settings, device=device)
    return lambda photo: propose(reduced(photo, max_side=settings.max_side))


def stored_regions(context: Context, item: Item) -> Regions:
    """The regions of a photo of the run."""
    return read_regions(context.folder(NAME), item.id)


def fresh_regions(context: Context, dataset: TaggedDataset) -> Callable[[Item], Regions]:
    """The regions of photos outside a run, made when they are asked for and not stored."""
    propose = _recipe_proposer(context) if REGIONS in label_needs(context.recipe.labels.method) else None

    def regions(item: Item) -> Regions:
        if propose is None:
            raise ValueError("the recipe's label maps need no regions")
        return propose(dataset.photo(item))

    return regions


def scoring_inputs(settings: RegionSettings) -> dict[str, Any]:
    """The settings that act when labels are made."""
    return {"background": settings.background, "combine": settings.combine}


def _inputs(context: Context) -> dict[str, Any]:
    settings = context.recipe.regions
    read = {key: value for key, value in leaves(settings, neutral=False) if key not in SCORING}
    return read | ({"model": source_digest(read["model"])} if "model" in read else {})


def _partial(context: Context, folder: Path) -> float | None:
    items = context.dataset.items
    done = sum((folder / f"{item.id}{SUFFIX}").is_file() for item in items)
    return done / max(1, len(items)) if done else None


def _recipe_proposer(context: Context) -> Propose:
    settings = context.recipe.regions
    has_network = PROPOSALS.load(settings.proposals).has_network
    return proposer(settings, context.engine.device if has_network else None)


def _run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    settings, dataset = context.recipe.regions, context.dataset
    propose = _recipe_proposer(context)
    mine = dataset.items[context.rank :: context.processes]
    todo = [item for item in mine if not (folder / f"{item.id}{SUFFIX}").is_file()]
    with counter(label="regions", total=len(mine), done=len(mine) - len(todo)) as advance:
        for item in todo:
            write_regions(folder, item.id, propose(dataset.photo(item)))
            advance("")
    return {"photos": len(dataset.items), "proposals": settings.proposals}
