"""Which photos make up which step, and their augmentation, keyed so that no step depends on history."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from semples.data.dataset import TaggedDataset
from semples.data.transforms import train_view
from semples.errors import UserError
from semples.recipe import AugmentSettings
from semples.training.task import Batch, Total

ORDER_KEY, NOISE_KEY = 1, 2


@dataclass(frozen=True)
class Plan:
    """The photos of every step: a permutation per epoch, cut into batches; the last incomplete batch is dropped.

    tags: (n,K) bool. batch: photos a step, at most n. workers x parts pieces share a step's photos evenly.
    """

    tags: np.ndarray
    epochs: int
    batch: int
    seed: int
    processes: int = 1
    parts: int = 1

    def __post_init__(self) -> None:
        if self.batch < self.processes * self.parts:
            raise UserError(
                f"a batch of {self.batch} photos cannot be shared by {self.processes} processes x {self.parts} parts; "
                "raise batch (or add photos) or lower accumulate"
            )

    @property
    def steps_per_epoch(self) -> int:
        return len(self.tags) // self.batch

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def photos(self, step: int) -> np.ndarray:
        """Indices of the photos of a step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, ORDER_KEY, epoch))))
        return order.permutation(len(self.tags))[position * self.batch : (position + 1) * self.batch]

    def piece(self, step: int, *, rank: int, part: int) -> np.ndarray:
        """The photos of one forward pass."""
        return np.array_split(self.photos(step), self.processes * self.parts)[rank * self.parts + part]

    def total(self, step: int) -> Total:
        """Photos and (photo, class) pairs of a whole step."""
        photos = self.photos(step)
        return Total(photos=len(photos), pairs=int(self.tags[photos].sum()))


def tag_matrix(dataset: TaggedDataset) -> np.ndarray:
    """(n,K) bool, True where a photo carries a class."""
    tags = np.zeros((len(dataset.items), len(dataset.classes)), bool)
    for row, item in zip(tags, dataset.items, strict=True):
        row[list(item.tags)] = True
    return tags


Key = tuple[int, int]  # epoch, photo index


@dataclass(frozen=True)
class Views(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Augmented training views by (epoch, index)."""

    dataset: TaggedDataset
    tags: np.ndarray
    augment: AugmentSettings
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int
    noise_size: int

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        epoch, index = key
        photo = self.dataset.photo(self.dataset.items[index])
        view = train_view(
            photo,
            self.augment,
            size=self.size,
            mean=self.mean,
            std=self.std,
            seed=self.seed,
            epoch=epoch,
            index=index,
        )
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, NOISE_KEY, epoch, index))))
        noise = random.random(self.noise_size, dtype=np.float32)
        return view, torch.from_numpy(self.tags[index]), torch.from_numpy(noise)


@dataclass(frozen=True)
class _Pieces(Sampler[list[Key]]):
    plan: Plan
    rank: int
    first_step: int

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.first_step, self.plan.steps):
            epoch = step // self.plan.steps_per_epoch
            for part in range(self.plan.parts):
                yield [(epoch, int(index)) for index in self.plan.piece(step, rank=self.rank, part=part)]


def _collate(rows: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> Batch:
    return Batch(*(torch.stack(column) for column in zip(*rows, strict=True)))


def feed(plan: Plan, views: Views, *, rank: int, first_step: int, workers: int) -> Iterator[Batch]:
    """All forward passes of a process from `first_step` on, `plan.parts` of them per step."""
    loader = DataLoader(
        views,
        batch_sampler=_Pieces(plan, rank, first_step),
        num_workers=min(workers, os.cpu_count() or 1),
        collate_fn=_collate,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
    yield from loader
