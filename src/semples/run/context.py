"""One run: its recipe, its photos, its folder, and this process's place among others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.cores import cores
from semples.core.ranks import ALONE, Ranks
from semples.core.schema import leaves
from semples.data.dataset import FileDataset, TaggedDataset
from semples.data.decoded import PhotosOnce
from semples.recipe import Recipe
from semples.run import photos
from semples.run.photos import Source
from semples.run.photos_once import photos_once

if TYPE_CHECKING:
    from semples.training.engine import Engine
    from semples.training.trackers import Tracking

__all__ = ["Context", "Source"]

MOST_WORKERS = 16  # of one process beside a GPU, chosen by itself


@dataclass
class Context:
    """A run. Steps do not get it: what they look at is recorded (`run.work.Work`)."""

    recipe: Recipe
    source: Source
    out: Path
    _once: PhotosOnce | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def processes(self) -> int:
        """How many processes work on this run (torchrun and accelerate launch set it)."""
        return int(os.environ.get("WORLD_SIZE", "1"))

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        return int(os.environ.get("RANK", "0")) if self.processes > 1 else 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes manifests and talks to the user."""
        return self.rank == 0

    @cached_property
    def engine(self) -> Engine:
        """Devices and processes; made when a step first needs them."""
        from semples.training.engine import Engine

        return Engine.start(self.recipe.run)

    @property
    def ranks(self) -> Ranks:
        """This process and the others: photos are shared, figures are told."""
        return self.engine.ranks if self.processes > 1 else ALONE

    @property
    def workers(self) -> int:
        """Processes that work for this one (`data.workers`), no more than the cores that it may use."""
        wanted, here = self.recipe.data.workers, cores()
        if wanted != "auto":
            return min(wanted, here)
        import torch

        return min(here, MOST_WORKERS if torch.cuda.is_available() else 2)

    @property
    def numerics(self) -> dict[str, Any]:
        """Device and precisions, where a network has computed in this process."""
        if "engine" not in self.__dict__:
            return {}
        return {"numerics": self.engine.described(self.recipe.run)}

    @cached_property
    def tracking(self) -> Tracking:
        """Where curves of training are shown beside the folder; for the main process."""
        from semples.training.trackers import Tracking

        return Tracking(self.out, self.recipe.run.trackers, config=dict(leaves(self.recipe)))

    def close_tracking(self) -> None:
        """End what `tracking` has opened."""
        opened = self.__dict__.pop("tracking", None)
        if opened is not None:
            opened.close()

    def wait(self) -> None:
        """Until all processes are here."""
        self.ranks.wait()

    @cached_property
    def dataset(self) -> FileDataset:
        """The usable photos, as the data step left them; without masks."""
        settings = self.recipe.data
        stored = photos.stored_dataset(self.folder("data"), max_megapixels=settings.max_megapixels, bits=settings.bits)
        return photos.relocated(stored, self.folder("data"), self.source, listing=lambda: self.listing)

    @cached_property
    def listing(self) -> TaggedDataset:
        """The dataset as its folder holds it now, unreadable photos included."""
        return photos.listed(self.source, self.recipe.data)

    @cached_property
    def scored_dataset(self) -> TaggedDataset:
        """The usable photos with the masks that the folder holds now: these may come or go after training."""
        return photos.with_masks(self.dataset, self.listing)

    def forget_photos(self) -> None:
        """Read what the data step left anew when it is next asked for."""
        for name in ("dataset", "scored_dataset"):
            self.__dict__.pop(name, None)

    def photos_once(self, dataset: TaggedDataset, sizes: Mapping[str, tuple[int, int]]) -> PhotosOnce:
        """The photos, each decoded once where there is room (`data.cache`), from now until `forget_decoded`. All
        processes have to ask. sizes: (width, height) of every photo by id."""
        if self._once is None or self._once.items != dataset.items:
            self._once = None  # what was kept goes first
            self._once = photos_once(dataset, sizes, self.recipe.data, folder=self.out, ranks=self.ranks)
        return self._once

    def forget_decoded(self) -> None:
        """Give back the room that decoded photos have taken."""
        self._once = None

    def folder(self, step: str) -> Path:
        """The folder of a step."""
        return self.out / step
