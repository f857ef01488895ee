"""Where a run would keep decoded photos while it trains, and the room that they would take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from semples.data.dataset import TaggedDataset
from semples.data.decoded import SPARE, Layout, decoded_bytes, room, sizes_kept
from semples.data.held_out import held_out, without
from semples.data.photos import PhotoError, probe
from semples.recipe import Recipe
from semples.run.photos_once import AUTO_SHARE, disk_of, most_bytes
from semples.run.planning.plan import KeptPhotos, amount

Sizes = Mapping[str, tuple[int, int]]


def sizes_of(dataset: TaggedDataset, *, max_megapixels: float) -> dict[str, tuple[int, int]]:
    """(width, height) by id of every photo whose header can be read."""
    sizes = {}
    for item in dataset.items:
        try:
            sizes[item.id] = probe(item.photo, max_megapixels=max_megapixels)
        except PhotoError:
            continue
    return sizes


def kept_photos(dataset: TaggedDataset, sizes: Sizes, recipe: Recipe, *, folder: Path) -> KeptPhotos:
    """What training keeps of the photos of `dataset` with the room that there is now.

    sizes: as `sizes_of` gives them. folder: one that is there, on the disk of the run.
    """
    settings, share = recipe.data, recipe.health.held_out
    seen = without(dataset, held_out(dataset, share=share, seed=recipe.run.seed)) if share else dataset
    whole = {item.id: sizes[item.id] for item in seen.items if item.id in sizes}
    small = sizes_kept(whole, max_side=settings.train_side)
    needed, free = decoded_bytes(small), room(disk_of(settings, folder))
    most = min(most_bytes(settings, needed, folder=folder), int((1 - SPARE) * free))  # as `DecodedPhotos.keep` stops
    layout = Layout.of(small, most=most)
    where, why = "disk" if settings.cache == "disk" else "memory", ""
    if not layout.numbers:
        where, why = "no", "data.cache=no" if settings.cache == "no" else _no_room(recipe, needed, free)
    return KeptPhotos(where, layout.size, len(layout.numbers), len(small), settings.train_side, why)


def _no_room(recipe: Recipe, needed: int, free: int) -> str:
    """Why nothing is kept, though the settings would have it so."""
    settings = recipe.data
    if settings.cache != "auto":
        return f"no photo has room; {amount(free)} are free, data.cache_gb={settings.cache_gb}"
    limits = [(free * AUTO_SHARE, f"a quarter of the free memory ({amount(free)})")]
    if settings.cache_gb != "auto":
        limits.append((settings.cache_gb * 1e9, f"data.cache_gb={settings.cache_gb:g}"))
    return f"all would take {amount(needed)}, more than {min(limits)[1]}; data.cache=memory or disk keeps what has room"
