"""Which photos make up which step, and their augmentation, keyed so that no step depends on history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from semples.core.cores import cores
from semples.core.errors import UserError
from semples.core.parcel import Parcel, copies_itself
from semples.data.dataset import TaggedDataset
from semples.data.transforms import Crop, train_crop, train_view
from semples.recipe import AugmentSettings
from semples.training.crops import CropBatch
from semples.training.task import Batch, TaggedBatch, Total

ORDER_KEY, NOISE_KEY = 1, 2


@dataclass(frozen=True)
class Plan:
    """The photos of every step: a permutation per epoch, cut into batches; the last incomplete batch is dropped.

    pairs: (n,) how many (photo, class) pairs each photo has. batch: photos a step, at most n. processes x parts pieces
    share a step's photos evenly.
    """

    pairs: np.ndarray
    epochs: int
    batch: int
    seed: int
    processes: int = 1
    parts: int = 1
    length: int | None = None
    """Steps, where they are counted instead of epochs."""

    def __post_init__(self) -> None:
        if self.batch < self.processes * self.parts:
            raise UserError(
                f"a batch of {self.batch} photos cannot be shared by {self.processes} processes x {self.parts} parts; "
                "raise batch (or add photos) or lower accumulate"
            )

    @property
    def steps_per_epoch(self) -> int:
        return len(self.pairs) // self.batch

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch if self.length is None else self.length

    def ends_epoch(self, finished: int) -> bool:
        """Whether an epoch ends with so many finished steps, or all training does."""
        return finished % self.steps_per_epoch == 0 or finished == self.steps

    def photos(self, step: int) -> np.ndarray:
        """Indices of the photos of a step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return _order(self.seed, epoch, len(self.pairs))[position * self.batch : (position + 1) * self.batch]

    def piece(self, step: int, *, rank: int, part: int) -> np.ndarray:
        """The photos of one forward pass."""
        return np.array_split(self.photos(step), self.processes * self.parts)[rank * self.parts + part]

    def total(self, step: int) -> Total:
        """Photos and (photo, class) pairs of a whole step."""
        photos = self.photos(step)
        return Total(photos=len(photos), pairs=int(self.pairs[photos].sum()))


@lru_cache(maxsize=2)  # the loop and the loader ask for the same epoch, one of them a little ahead
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The photos of an epoch in their order; read only."""
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, ORDER_KEY, epoch))))
    order = draw.permutation(count)
    order.flags.writeable = False
    return order


def tag_matrix(dataset: TaggedDataset) -> np.ndarray:
    """(n,K) bool, True where a photo carries a class."""
    tags = np.zeros((len(dataset.items), len(dataset.classes)), bool)
    for row, item in zip(tags, dataset.items, strict=True):
        row[list(item.tags)] = True
    return tags


def open_matrix(dataset: TaggedDataset) -> np.ndarray | None:
    """(n,K) bool, True where it is left open whether a photo shows a class; None where no tag is."""
    if not any(item.open for item in dataset.items):
        return None
    unsure = np.zeros((len(dataset.items), len(dataset.classes)), bool)
    for row, item in zip(unsure, dataset.items, strict=True):
        row[list(item.open)] = True
    return unsure


Key = tuple[int, int]  # epoch, photo index
Row = tuple[torch.Tensor, ...]


class TrainingViews(Protocol):
    """A torch dataset of training views by (epoch, index): the same key gives the same bytes, whoever asks."""

    @property
    def pairs(self) -> np.ndarray:
        """(n,) how many (photo, class) pairs each photo has; 0 where a task has no use for it."""
        ...

    def __getitem__(self, key: Key) -> Row: ...

    def collate(self, rows: list[Row]) -> Batch:
        """The views of one forward pass."""
        ...


@runtime_checkable
class Crops(Protocol):
    """Training views that can also be had before they are normalised, a quarter of the bytes."""

    def crop(self, key: Key) -> Any:
        """What becomes the view of `key`."""
        ...

    def collate_crops(self, rows: list[Any]) -> CropBatch:
        """The views of one forward pass, to be normalised where they are computed with."""
        ...


@dataclass(frozen=True)
class Views(Dataset[Row]):
    """Augmented training views by (epoch, index)."""

    dataset: TaggedDataset
    tags: np.ndarray
    augment: AugmentSettings
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int
    noise_size: int
    open: np.ndarray | None = None  # (n,K) bool, True where a tag is left open; None where none is

    def __getitem__(self, key: Key) -> Row:
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
        return view, *self._beside(key)

    def _beside(self, key: Key) -> Row:
        """What comes with a view: tags, noise, number and, where there are some, open tags."""
        index = key[1]
        noise = keyed_noise(self.noise_size, seed=self.seed, key=key)
        known = () if self.open is None else (torch.from_numpy(self.open[index]),)
        return torch.from_numpy(self.tags[index]), noise, torch.tensor(index), *known

    def crop(self, key: Key) -> tuple[Crop, Row]:
        """The view of `key` before it is normalised, and what comes with it."""
        epoch, index = key
        photo = self.dataset.photo(self.dataset.items[index])
        made = train_crop(photo, self.augment, size=self.size, mean=self.mean, seed=self.seed, epoch=epoch, index=index)
        return made, self._beside(key)

    def collate_crops(self, rows: list[tuple[Crop, Row]]) -> CropBatch:
        tags, noise, number, *unsure = (torch.stack(column) for column in zip(*(row for _, row in rows), strict=True))
        rest = TaggedBatch(
            image=torch.empty(0), tags=tags, noise=noise, number=number, open=unsure[0] if unsure else None
        )
        return CropBatch.of([crop for crop, _ in rows], rest=rest, mean=self.mean, std=self.std)

    @property
    def pairs(self) -> np.ndarray:
        counts: np.ndarray = self.tags.sum(axis=1)
        return counts

    def collate(self, rows: list[Row]) -> TaggedBatch:
        image, tags, noise, number, *unsure = (torch.stack(column) for column in zip(*rows, strict=True))
        return TaggedBatch(image=image, tags=tags, noise=noise, number=number, open=unsure[0] if unsure else None)


def keyed_noise(size: int, *, seed: int, key: Key) -> torch.Tensor:
    """(size,) float32 in [0,1), the randomness of a photo in an epoch."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, NOISE_KEY, *key))))
    return torch.from_numpy(random.random(size, dtype=np.float32))


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


@dataclass(frozen=True)
class _Told(Dataset[Any]):
    """Views whose mistakes for the user come through the loader as they are: from another process it would raise
    them with a traceback for a message."""

    views: TrainingViews
    crops: bool = False

    def __getitem__(self, key: Key) -> Any:
        try:
            return self.views.crop(key) if self.crops and isinstance(self.views, Crops) else self.views[key]
        except UserError as error:
            return error

    def collate(self, rows: list[Any]) -> Batch | CropBatch | UserError:
        whole = []
        for row in rows:
            if isinstance(row, UserError):
                return row
            whole.append(row)
        if self.crops and isinstance(self.views, Crops):
            return self.views.collate_crops(whole)
        return self.views.collate(whole)


class _Sent(Dataset[Any]):
    """What new processes get of a `_Told`, and use as if it were one."""

    def __init__(self, told: _Told) -> None:
        self._parcel = Parcel(told)

    def __getitem__(self, key: Key) -> Any:
        return self._parcel.content[key]

    def collate(self, rows: list[Any]) -> Batch | CropBatch | UserError:
        return self._parcel.content.collate(rows)


def feed(
    plan: Plan, views: TrainingViews, *, rank: int, first_step: int, workers: int, crops: bool = False
) -> Iterator[Batch | CropBatch]:
    """All forward passes of a process from `first_step` on, `plan.parts` of them per step; `.to(device)` of each is a
    batch.

    crops: views that can (`Crops`) come as bytes and are normalised by the device that they are brought to: for GPUs.
    Raises UserError for a photo that has become unreadable, whichever process has met it.
    """
    told, count = _Told(views, crops), min(workers, cores())
    source = told if count == 0 or copies_itself() else _Sent(told)
    loader: DataLoader[Any] = DataLoader(
        source,
        batch_sampler=_Pieces(plan, rank, first_step),
        num_workers=count,
        collate_fn=source.collate,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch
