"""Photos that are kept decoded, and a count of what is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semples.data.dataset import FileDataset, Item, open_dataset
from semples.data.decoded import DecodedPhotos, Layout, PhotosOnce, sizes_kept
from semples.data.photos import probe
from tests import tiny

ROOM = 10**9


@dataclass
class Counted:
    """A dataset that notes which photos were decoded."""

    whole: FileDataset
    decoded: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        if name == "whole" or name.startswith("__"):  # asked while it is unpacked
            raise AttributeError(name)
        return getattr(self.whole, name)

    def photo(self, item: Item) -> np.ndarray:
        self.decoded.append(item.id)
        return self.whole.photo(item)


def draw_counted(folder: Path) -> Counted:
    """Five drawn photos."""
    whole = open_dataset(tiny.draw_photos(folder, count=5))
    assert isinstance(whole, FileDataset)
    return Counted(whole)


def sizes_of(counted: Counted) -> dict[str, tuple[int, int]]:
    return {item.id: probe(item.photo) for item in counted.whole.items}


def once(counted: Counted, *, most: int = ROOM, max_side: int = 0, folder: Path | None = None) -> PhotosOnce:
    layout = Layout.of(sizes_kept(sizes_of(counted), max_side=max_side), most=most)
    return PhotosOnce(counted, DecodedPhotos.make(layout, folder=folder), max_side)
