"""Which photos make up which step."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data._utils.pin_memory import pin_memory

from semples.core.cores import cores
from semples.core.errors import UserError
from semples.data.dataset import Item, PhotoError
from semples.recipe import AugmentSettings, Recipe, override
from semples.run.context import Context, Source
from semples.training.crops import CropBatch
from semples.training.feed import Plan, feed, tag_matrix
from tests.training import toy


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 30), batch=st.integers(1, 12), processes=st.integers(1, 3), parts=st.integers(1, 3),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_pieces_share_every_step(count: int, batch: int, processes: int, parts: int, seed: int) -> None:
    tags = np.random.default_rng(seed).random((count, 4)) < 0.4
    batch = min(batch, count)
    if batch < processes * parts:
        with pytest.raises(UserError, match="cannot be shared"):
            Plan(tags.sum(1), epochs=2, batch=batch, seed=seed, processes=processes, parts=parts)
        return
    plan = Plan(tags.sum(1), epochs=2, batch=batch, seed=seed, processes=processes, parts=parts)
    alone = Plan(tags.sum(1), epochs=2, batch=batch, seed=seed)
    assert plan.steps == 2 * (count // batch)
    for step in range(plan.steps):
        pieces = [plan.piece(step, rank=rank, part=part) for rank in range(processes) for part in range(parts)]
        assert np.array_equal(np.concatenate(pieces), alone.photos(step))
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
        assert plan.total(step) == (batch, int(tags[alone.photos(step)].sum()))
    for epoch in range(2):
        photos = np.concatenate([plan.photos(epoch * plan.steps_per_epoch + i) for i in range(plan.steps_per_epoch)])
        assert len(set(photos.tolist())) == len(photos) == batch * (count // batch)


def test_every_epoch_has_its_own_order() -> None:
    plan = Plan(np.ones(50, int), epochs=3, batch=50, seed=0)
    orders = [plan.photos(epoch).tolist() for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] == Plan(np.ones(50, int), epochs=3, batch=50, seed=0).photos(0).tolist()
    assert orders[0] != Plan(np.ones(50, int), epochs=3, batch=50, seed=1).photos(0).tolist()


def test_views_depend_on_epoch_and_photo_alone() -> None:
    views = toy.views(noise_size=6)
    for left, right in zip(views[(1, 3)], views[(1, 3)], strict=True):
        assert torch.equal(left, right)
    for other in ((0, 3), (1, 4)):
        assert not torch.equal(views[(1, 3)][0], views[other][0])
        assert not torch.equal(views[(1, 3)][2], views[other][2])
    image, tags, noise, number = views[(1, 3)]
    assert int(number) == 3
    assert image.shape == (3, toy.SIDE, toy.SIDE)
    assert image.dtype == torch.float32
    assert tags.tolist() == [True, True, True]
    assert noise.shape == (6,)
    assert 0 <= noise.min() <= noise.max() < 1


@pytest.mark.parametrize("workers", [0, 1])
def test_feeding_can_start_anywhere(workers: int) -> None:
    views = toy.views()
    plan = Plan(views.pairs, epochs=2, batch=4, seed=0, parts=2)
    whole = list(feed(plan, views, rank=0, first_step=0, workers=0))
    assert len(whole) == plan.steps * 2
    rest = list(feed(plan, views, rank=0, first_step=3, workers=workers))
    assert len(rest) == len(whole) - 6
    for left, right in zip(whole[6:], rest, strict=True):
        assert torch.equal(left.image, right.image)
        assert torch.equal(left.tags, right.tags)
        assert torch.equal(left.noise, right.noise)


def test_tag_matrix() -> None:
    assert tag_matrix(toy.MemoryDataset(((0, 2), (), (1,)))).tolist() == [
        [True, False, True],
        [False] * 3,
        [False, True, False],
    ]


class Damaged(toy.MemoryDataset):
    """The photo 3 has become unreadable."""

    def photo(self, item: Item) -> np.ndarray:
        if item.id == "3":
            raise PhotoError("3.png: damaged")
        return super().photo(item)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_photo_is_one_line_from_any_process(workers: int) -> None:
    views = toy.views(Damaged(toy.TAGS))
    plan = Plan(views.pairs, epochs=1, batch=10, seed=0)
    with pytest.raises(PhotoError) as caught:
        next(feed(plan, views, rank=0, first_step=0, workers=workers))
    assert str(caught.value) == "3.png: damaged"


@pytest.mark.parametrize("workers", [0, 1])
def test_crops_become_the_same_bits(workers: int) -> None:
    """What goes to a GPU as bytes and is normalised there; open tags and erased boxes included."""
    views = replace(toy.views(), open=tag_matrix(toy.DATASET)[::-1].copy(), augment=AugmentSettings(erasing=0.7))
    plan = Plan(views.pairs, epochs=3, batch=4, seed=0, parts=2)
    plain = list(feed(plan, views, rank=0, first_step=1, workers=0))
    crops = list(feed(plan, views, rank=0, first_step=1, workers=workers, crops=True))
    assert all(isinstance(crop, CropBatch) and crop.pixels.dtype == torch.uint8 for crop in crops)
    assert {len(crop.boxes) for crop in crops} >= {0, 1, 2}  # type: ignore[union-attr]
    for crop, whole in zip(crops, plain, strict=True):
        made = crop.to(torch.device("cpu"))
        assert vars(made).keys() == vars(whole).keys()
        for name, value in vars(whole).items():
            other = getattr(made, name)
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_batches_are_pinned_as_the_loader_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pin_memory=True` of the loader does nothing for what it does not know, unless that says how."""
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *device: seen.append(self.shape) or self.clone())
    views = replace(toy.views(), augment=AugmentSettings(erasing=1))
    plan = Plan(views.pairs, epochs=1, batch=4, seed=0)
    (batch, *_), (crops, *_) = (
        list(feed(plan, views, rank=0, first_step=0, workers=0, crops=kind)) for kind in (False, True)
    )
    for before, count in ((batch, 4), (crops, 8)):
        seen.clear()
        there = pin_memory(before)
        assert type(there) is type(before)
        assert there is not before
        assert len(seen) == count
        assert torch.equal(there.to(torch.device("cpu")).image, batch.to(torch.device("cpu")).image)


def test_an_epoch_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = []
    original = np.random.SeedSequence
    monkeypatch.setattr(np.random, "SeedSequence", lambda key: draws.append(key) or original(key))
    plan = Plan(np.ones(103, int), epochs=4, batch=5, seed=12345)
    for step in range(plan.steps):
        plan.photos(step)
        plan.total(min(plan.steps - 1, step + 3))
    assert len(draws) == 4


@pytest.mark.parametrize(("beside", "expected"), [("1", 6), ("3", 2), ("100", 1), ("?", 6)])
def test_cores_are_shared_with_the_processes_beside(
    beside: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", beside)
    assert cores() == expected


@pytest.mark.parametrize(
    ("wanted", "gpu", "here", "expected"),
    [
        ("auto", False, 8, 2),
        ("auto", False, 1, 1),
        ("auto", True, 8, 8),
        ("auto", True, 96, 16),
        (5, True, 8, 5),
        (9, False, 4, 4),
    ],
)
def test_workers_follow_the_machine(
    wanted: int | str, gpu: bool, here: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("semples.run.context.cores", lambda: here)
    context = Context(override(Recipe(), [f"data.workers={wanted}"]), Source(Path()), Path())
    assert context.workers == expected
