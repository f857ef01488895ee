"""What a GPU would wait for and be asked to do, seen without one: steps ask it for no value, and work on many photos at
once.

Fake tensors have a shape and no values: whoever wants one (`.item()`, `nonzero`, `unique`) fails, as on a GPU the host
would wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from semples.generators import class_tokens
from semples.networks.attention import map_bytes
from semples.networks.clip import FrozenClip
from semples.networks.pairs import Pairs
from semples.stages.base import Stage
from semples.training.task import TaggedBatch, Total
from tests import tiny
from tests.stages.test_stages import task
from tests.training import toy


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> FrozenClip:
    folder = tmp_path_factory.mktemp("clip")
    return FrozenClip.load(str(tiny.save_clip(folder / "clip", image_size=toy.SIDE, patch_size=8)))


@pytest.fixture(autouse=True)
def nothing_kept(clip: FrozenClip) -> Iterator[None]:
    """What was brought to a device once is real in one test and fake in another."""
    clip._fixed.clear()
    yield
    clip._fixed.clear()


class Constants(TorchDispatchMode):
    """How many tensors are made of numbers of the host; on a GPU each waits for its copy."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


def batch_of(*photos: int, known: bool = True) -> TaggedBatch:
    """Some photos of the toy, as `to` brings them to a GPU."""
    views = toy.views()
    batch = views.collate([views[(0, photo)] for photo in photos])
    if not known:
        return batch
    return replace(batch, present=Pairs.of(batch.tags, batch.number).known_on(torch.device("cpu")))


def step_without_values(made: Stage, batch: TaggedBatch) -> int:
    """Forward and backward on fake tensors; returns how many constants were copied, of a second such step."""
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    trained = {id(parameter) for parameter in made.trained()}

    def fake(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return mode.from_tensor(value.detach())
        if isinstance(value, Pairs):
            photo, label, number, classes = value.photo, value.label, value.number, value.classes
            return Pairs(fake(photo), fake(label), fake(number), classes and (fake(classes[0]), fake(classes[1])))
        return value

    state = {name: fake(value) for name, value in (*made.named_parameters(), *made.named_buffers())}
    for name, parameter in made.named_parameters():
        state[name].requires_grad_(id(parameter) in trained)
    shown = replace(batch, **{entry.name: fake(getattr(batch, entry.name)) for entry in fields(batch)})
    for module in made.modules():
        if isinstance(module, FrozenClip):
            module._fixed.clear()
    for _ in range(2):
        with mode, Constants() as constants:
            terms = torch.func.functional_call(made, state, (shown, Total(3, 6)))
            terms["loss"].backward()
    return constants.count


@pytest.mark.parametrize("name", ["warmup", "matching", "prompting", "refinement"])
def test_a_step_asks_for_no_value_and_copies_nothing(name: str, clip: FrozenClip) -> None:
    assert step_without_values(task(name, clip).train(), batch_of(0, 2, 3)) == 0


def test_what_waits_is_noticed(clip: FrozenClip) -> None:
    """Pairs that are looked for on the device have to be waited for: the test above can fail."""
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        step_without_values(task("matching", clip).train(), batch_of(0, 2, 3, known=False))


def test_pairs_known_beforehand_are_those_of_the_tags() -> None:
    batch = batch_of(0, 2, 3, 7, known=False)
    known = batch_of(0, 2, 3, 7).pairs
    for name in ("photo", "label", "number"):
        assert torch.equal(getattr(known, name), getattr(batch.pairs, name))
    for left, right in zip(known.distinct(), batch.pairs.label.unique(return_inverse=True), strict=True):
        assert torch.equal(left, right)


class Launches(TorchDispatchMode):
    """How many operations there are that are not mere views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def launches(made: Stage, batch: TaggedBatch) -> int:
    with Launches() as seen:
        made(batch, Total(len(batch.tags), 6))["loss"].backward()
    return seen.count


def test_backgrounds_are_learned_from_many_photos_at_once(clip: FrozenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory allows: as many operations for five photos as for two. Streamed there are more for each photo."""
    made = task("prompting", clip).train()
    few, many = batch_of(2, 3), batch_of(0, 2, 3, 5, 7)
    assert abs(launches(made, many) - launches(made, few)) <= 2
    monkeypatch.setattr(class_tokens, "MAP_BYTES", 0)
    assert launches(made, many) > launches(made, few) + 40


def test_a_gpu_keeps_maps_by_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Card:
        total_memory = 80 * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card())
    assert map_bytes(torch.device("cuda", 0), 64) == 10 * 2**30
    assert map_bytes(torch.device("cpu"), 64) == 64
    assert class_tokens.MAP_BYTES == 64_000_000
