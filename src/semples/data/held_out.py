"""Photos that no training sees, so that what was learned can be tried on them."""

from __future__ import annotations

import hashlib
from collections import Counter

from semples.data.dataset import Item, TaggedDataset, with_items

LEAST = 2  # photos of a class that training keeps


def held_out(dataset: TaggedDataset, *, share: float, seed: int) -> list[Item]:
    """About `share` (0..1) of the photos, in the order of the dataset, chosen by name and seed alone: a photo stays in
    or out when others come or go, except that training keeps at least `LEAST` photos of every class."""
    chosen = [item for item in dataset.items if _place(item.id, seed) < share]
    tagged = Counter(tag for item in dataset.items for tag in item.tags)
    taken = Counter[int]()
    held = []
    for item in sorted(chosen, key=lambda item: _place(item.id, seed)):
        if all(tagged[tag] - taken[tag] > LEAST for tag in item.tags):
            taken.update(item.tags)
            held.append(item.id)
    names = frozenset(held)
    return [item for item in dataset.items if item.id in names]


def without(dataset: TaggedDataset, items: list[Item]) -> TaggedDataset:
    """The dataset without some of its photos."""
    names = {item.id for item in items}
    return with_items(dataset, [item for item in dataset.items if item.id not in names]) if names else dataset


def _place(id: str, seed: int) -> float:
    """Where a photo lies in 0..1."""
    digest = hashlib.sha256(f"{seed}/{id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
