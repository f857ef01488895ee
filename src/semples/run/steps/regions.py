"""The step before label maps that are drawn by regions: the regions of every photo, stored one file a photo."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from semples.core.files import read_object, write_json
from semples.core.places import ids_in, number, place_of
from semples.core.progress import counter
from semples.data.dataset import Item
from semples.labels.base import REGIONS
from semples.labels.regions import SUFFIX, write_regions
from semples.run.context import Context
from semples.run.label_maps import FreshRegions
from semples.run.photos import SEEN, Digests
from semples.run.pool import pooled
from semples.run.step import Step, photos_there
from semples.run.work import Work
from semples.settings.kinds import PROPOSALS, label_needs

NAME = "regions"
PHOTOS = "photos.json"  # SHA-256 of the photos by id that the regions were made of
SCORING = ("background", "combine")  # used when labels are made; the regions do not depend on them


def step() -> Step:
    """Regions of every photo; part of a run where the recipe's label maps need them."""
    return Step(
        NAME,
        "region proposals",
        ("data",),
        _run,
        partial=_partial,
        wanted=lambda recipe: REGIONS in label_needs(recipe.labels.method),
        notes=("step:data",),
    )


def _partial(context: Context, folder: Path) -> float | None:
    items = context.dataset.items
    return photos_there(context, lambda: sum(place_of(folder, item.id, SUFFIX).is_file() for item in items))


def _drop_stale(work: Work) -> None:
    """Remove the regions of photos that are others than they were made of: those of all others are kept, since a
    photo's regions depend on it alone."""
    path, items, digests = work.folder / PHOTOS, work.dataset.items, Digests(work.out / SEEN, save=False)
    if work.is_main:
        before = read_object(path)
        now = {item.id: digests.of(item.photo) for item in items}
        for id in list(ids_in(work.folder, SUFFIX)):
            if id not in now or before.get(id) != now[id]:
                place_of(work.folder, id, SUFFIX).unlink(missing_ok=True)
        write_json(path, now)
    work.wait()


def _write(folder: Path, regions: FreshRegions, item: Item) -> None:
    write_regions(folder, item.id, regions(item))


def _run(work: Work) -> dict[str, Any]:
    settings, dataset = work.settings("regions", leave_out=SCORING), work.dataset
    regions = FreshRegions(dataset, settings, lambda: work.device)
    mine = dataset.items[work.rank :: work.processes]
    number(work.folder, (item.id for item in dataset.items), suffix=SUFFIX)
    _drop_stale(work)
    todo = [item for item in mine if not place_of(work.folder, item.id, SUFFIX).is_file()]

    workers = 0 if PROPOSALS.load(settings.proposals).has_network else work.workers
    with counter(label="regions", total=len(mine), done=len(mine) - len(todo)) as advance:
        for _ in pooled(partial(_write, work.folder, regions), todo, workers=workers):
            advance("")
    return {"photos": len(dataset.items), "proposals": settings.proposals}
