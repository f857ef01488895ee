"""What a step is, and what it may look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.data.dataset import TaggedDataset, with_items
from semples.recipe import Recipe

if TYPE_CHECKING:
    from semples.training.loop import Engine

GENERATOR = "generator.safetensors"
PROMPTS = "prompts.safetensors"


@dataclass(frozen=True)
class Source:
    """Where the tagged photos are; `tags` and `classes` name files that replace those in the folder."""

    root: Path
    tags: Path | None = None
    classes: Path | None = None


@dataclass
class Context:
    """One run: its recipe, its photos, its folder, and this process's place among others."""

    recipe: Recipe
    source: Source
    out: Path

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
        from semples.training.loop import Engine

        return Engine.start(self.recipe.run)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.processes > 1:
            self.engine.wait()

    @cached_property
    def dataset(self) -> TaggedDataset:
        """The usable photos, as the data step left them."""
        from semples.run.steps.data import relocated, stored_dataset

        settings = self.recipe.data
        stored = stored_dataset(self.folder("data"), max_megapixels=settings.max_megapixels, bits=settings.bits)
        return relocated(self, stored)

    @cached_property
    def listing(self) -> TaggedDataset:
        """The dataset as its folder holds it now, unreadable photos included."""
        from semples.run.steps.data import listed

        return listed(self)

    @cached_property
    def scored_dataset(self) -> TaggedDataset:
        """The usable photos with the masks that the folder holds now: these may come or go after training."""
        masks = {item.id: item.mask for item in self.listing.items}
        items = (replace(item, mask=masks.get(item.id)) for item in self.dataset.items)
        return with_items(self.dataset, items)

    def forget_photos(self) -> None:
        """Read what the data step left anew when it is next asked for."""
        for name in ("dataset", "scored_dataset"):
            self.__dict__.pop(name, None)

    def folder(self, step: str) -> Path:
        """The folder of a step."""
        return self.out / step


@dataclass(frozen=True)
class Step:
    """One piece of a run.

    needs: steps whose folders it reads. inputs: everything else its result depends on, as plain data; together with
    the fingerprints of the needs it decides whether the step is up to date. run: does the work in the given folder
    (resuming what it finds there) and returns plain figures for the manifest; all processes call it. wanted: whether a
    run by this recipe has the step; a need that is not wanted is none.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    inputs: Callable[[Context], dict[str, Any]]
    run: Callable[[Context, Path, str], dict[str, Any]]
    version: int = 1
    partial: Callable[[Context, Path], float | None] = field(default=lambda context, folder: None)
    wanted: Callable[[Recipe], bool] = field(default=lambda recipe: True)
