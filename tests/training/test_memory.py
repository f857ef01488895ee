"""Parts of a step by the memory that a photo takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from semples.recipe import RunSettings, StageSettings
from semples.training import memory
from semples.training.engine import Engine
from semples.training.feed import Plan
from semples.training.loop import train
from semples.training.memory import kept_bytes, parts_of_step
from semples.training.task import TaggedBatch, Task, Total
from tests.training import toy


class Squares(Task[TaggedBatch]):
    """Keeps `count` tensors as large as its images for the gradient."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight, self.count = torch.nn.Parameter(torch.ones(())), count

    def trained(self) -> list[torch.nn.Parameter]:
        return [self.weight]

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, torch.Tensor]:
        images = batch.image * self.weight
        for _ in range(self.count - 1):
            images = images.exp()
        return {"loss": images.sum() / total.photos}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_kept_is_counted(count: int) -> None:
    views = toy.views()
    image = views[(0, 0)][0]
    assert kept_bytes(Squares(count), views, 0) == count * image.numel() * 4


def test_parts_follow_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    views, task = toy.views(), Squares(2)
    one = kept_bytes(task, views, 0)
    for room, parts in ((100 * one, 1), (4 * one, 3), (3 * one - 1, 6), (one // 2, 12)):
        monkeypatch.setattr(memory, "PART_BYTES", room)
        assert parts_of_step(task, views, batch=12, processes=1) == parts
    assert parts_of_step(task, views, batch=12, processes=4) == 3  # a photo a part and process


def test_parts_change_nothing_but_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = StageSettings(epochs=2, batch=4, base_lr=0.1)
    run, weights = RunSettings(log_every=2), []
    monkeypatch.setattr(memory, "PART_BYTES", 1)
    cut: list[int] = []
    made = Plan.__post_init__
    monkeypatch.setattr(Plan, "__post_init__", lambda plan: (cut.append(plan.parts), made(plan))[1])
    for settings in (stage, replace(stage, accumulate="auto")):
        task, folder = toy.PairTask(), tmp_path / str(settings.accumulate)
        folder.mkdir()
        train(task, toy.views(), engine=Engine.start(run), settings=settings, run=run, workers=0, folder=folder,
              fingerprint="f", label="toy")  # fmt: skip
        weights.append({name: value.detach() for name, value in task.state_dict().items()})
    assert cut == [1, 4]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-6, rtol=0)


def test_memory_is_measured_on_the_device_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge is on the GPU when a stage is built, the generator not yet."""
    seen: set[str] = set()

    def measured(task: toy.PairTask, *_: object, **__: object) -> int:
        seen.update(parameter.device.type for parameter in task.parameters())
        raise KeyboardInterrupt

    monkeypatch.setattr("semples.training.loop.parts_of_step", measured)
    engine = SimpleNamespace(device=torch.device("meta"), processes=1)
    with pytest.raises(KeyboardInterrupt):
        train(
            toy.PairTask(), toy.views(), engine=engine, settings=StageSettings(accumulate="auto"), run=RunSettings(),  # type: ignore[arg-type]
            workers=0, folder=tmp_path, fingerprint="f", label="toy",
        )  # fmt: skip
    assert seen == {"meta"}
