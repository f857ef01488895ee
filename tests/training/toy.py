"""A dataset in memory and a tiny generator, for tests of the loop and the stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semples.data.dataset import ClassList, Item, Problem
from semples.generators.base import build_generator
from semples.recipe import AugmentSettings, WeakTrSettings
from semples.training.feed import Views, tag_matrix
from semples.training.task import TaggedBatch, Task, Total, share

SIDE = 16
GENERATOR = WeakTrSettings(
    start="random", image_size=SIDE, patch_size=4, width=8, depth=2, heads=2, drop_path=0.3, feature_reduction=2
)


@dataclass(frozen=True)
class MemoryDataset:
    """Random photos with the given tags."""

    rows: tuple[tuple[int, ...], ...]
    num_classes: int = 3
    name: str = "memory"
    root: Path = Path()
    problems: tuple[Problem, ...] = field(default=())

    @property
    def classes(self) -> ClassList:
        names = tuple("abcdefgh"[: self.num_classes])
        return ClassList(names, names)

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(Item(f"{index}", Path(f"{index}.png"), tags, None) for index, tags in enumerate(self.rows))

    def photo(self, item: Item) -> np.ndarray:
        return np.random.default_rng(int(item.id)).integers(0, 256, (20, 24, 3), np.uint8)

    def mask(self, item: Item) -> None:
        return None


TAGS = ((0,), (), (1, 2), (0, 1, 2), (), (2,), (), (0, 2), (), ())
DATASET = MemoryDataset(TAGS)


def views(dataset: MemoryDataset = DATASET, *, noise_size: int = 4, seed: int = 0) -> Views:
    return Views(
        dataset=dataset, tags=tag_matrix(dataset), augment=AugmentSettings(), size=SIDE, mean=GENERATOR.mean,
        std=GENERATOR.std, seed=seed, noise_size=noise_size,
    )  # fmt: skip


def generator(num_classes: int = 3, seed: int = 0) -> Any:
    return build_generator(GENERATOR, classes=ClassList(tuple("abcdefgh"[:num_classes])), seed=seed)


class PairTask(Task[TaggedBatch]):
    """A loss over (photo, class) pairs with a parameter that a batch may leave unused: what a stage does, in small."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4), nn.Tanh(), nn.Linear(4, 3))
            self.frozen = nn.Linear(2, 2)
        self.modes: list[bool] = []
        self.seen: list[tuple[int, int]] = []

    def trained(self) -> Iterable[nn.Parameter]:
        return self.net.parameters()

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        self.modes.append(self.training)
        self.seen.append((len(batch.image), int(batch.tags.sum())))
        if not batch.tags.any():  # no parameter in the graph, as in the stages
            zero = batch.image.new_zeros(())
            return {"loss": zero, "half": zero}
        values = (self.net(batch.image) + batch.noise.mean(1, keepdim=True))[batch.tags].square()
        loss = share(values, total.pairs)
        return {"loss": loss, "half": loss.detach() / 2}
