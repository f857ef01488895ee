"""The loop: resuming at every step, parts, empty batches, stop signals, what is logged."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semples.core.errors import Stopped, UserError
from semples.data.dataset import Item
from semples.recipe import RunSettings, StageSettings
from semples.training import loop
from semples.training.engine import Engine
from semples.training.events import TIMES, read_lines, times
from semples.training.feed import Plan
from semples.training.loop import CHECKPOINT, train
from tests.training import toy

STAGE = StageSettings(epochs=3, batch=3, base_lr=0.1)
RUN = RunSettings(checkpoint_seconds=0, log_every=2)
STEPS = 9


def run(
    folder: Path, *, stage: StageSettings = STAGE, settings: RunSettings = RUN, workers: int = 0, **changes: Any
) -> toy.PairTask:
    folder.mkdir(exist_ok=True)
    task = changes.pop("task", None) or toy.PairTask()
    train(
        task, changes.pop("views", None) or toy.views(), engine=Engine.start(settings), settings=stage, run=settings,
        workers=workers, folder=folder, fingerprint=changes.pop("fingerprint", "f"), label="toy",
        after_epoch=changes.pop("after_epoch", None),
    )  # fmt: skip
    return task


def weights(task: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in task.state_dict().items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


class Cut(BaseException):
    """Stands for a power failure."""


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
def test_cut_at_every_step_and_resumed(
    checkpoint_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(RUN, checkpoint_seconds=checkpoint_seconds)
    whole = weights(run(tmp_path / "whole", settings=settings))
    original = loop._log
    for cut in range(STEPS):
        folder = tmp_path / f"cut {cut}"

        def log(progress: Any, *rest: Any, cut: int = cut) -> None:
            original(progress, *rest)
            if progress.step == cut + 1:
                raise Cut

        monkeypatch.setattr(loop, "_log", log)
        with pytest.raises(Cut):
            run(folder, settings=settings)
        monkeypatch.setattr(loop, "_log", original)
        assert equal(weights(run(folder, settings=settings)), whole), cut
        assert events(folder) == events(tmp_path / "whole")


def test_steps_that_end_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in steps, with a rise: cut and resumed it ends with the same bits, and the last epoch is told though it
    is cut short."""
    stage = StageSettings(epochs="steps", steps=8, base_lr="lr", lr=0.01, rise=0.25, batch=3)
    told: list[int] = []
    whole = weights(run(tmp_path / "whole", stage=stage, after_epoch=told.append))
    assert told == [1, 2, 3]
    assert [event["step"] for event in events(tmp_path / "whole")] == [2, 4, 6, 8]
    original = loop._log

    def log(progress: Any, *rest: Any) -> None:
        original(progress, *rest)
        if progress.step == 4:
            raise Cut

    monkeypatch.setattr(loop, "_log", log)
    with pytest.raises(Cut):
        run(tmp_path / "cut", stage=stage)
    monkeypatch.setattr(loop, "_log", original)
    assert equal(weights(run(tmp_path / "cut", stage=stage)), whole)


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weights(run(tmp_path / "whole"))
    run(tmp_path / "other", stage=replace(STAGE, base_lr=9.0), fingerprint="other")
    assert (tmp_path / "other" / CHECKPOINT).is_file()
    assert equal(weights(run(tmp_path / "other")), whole)


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    assert equal(weights(run(tmp_path / "one")), weights(run(tmp_path / "two", workers=1)))


def test_parts_of_a_batch_change_nothing_but_memory(tmp_path: Path) -> None:
    whole, parts = run(tmp_path / "one"), run(tmp_path / "two", stage=replace(STAGE, accumulate=2))
    assert max(size for size, _ in parts.seen) == 2
    assert any(pairs == 0 for _, pairs in parts.seen)  # a part without any pair
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, atol=1e-6, rtol=0)
    for left, right in zip(events(tmp_path / "one"), events(tmp_path / "two"), strict=True):
        assert left == pytest.approx(right, abs=1e-6)


def test_batches_without_a_pair_train(tmp_path: Path) -> None:
    dataset = toy.MemoryDataset(((), (), (1,), ()))
    task = run(tmp_path / "run", stage=replace(STAGE, batch=1, epochs=2), views=toy.views(dataset))
    assert sorted(task.seen) == [(1, 0)] * 6 + [(1, 1)] * 2
    assert all(torch.isfinite(value).all() for value in weights(task).values())
    untagged = run(tmp_path / "none", stage=replace(STAGE, batch=2), views=toy.views(toy.MemoryDataset(((), (), ()))))
    assert all(torch.isfinite(value).all() for value in weights(untagged).values())


def test_stages_train_in_train_mode_and_frozen_parts_stay(tmp_path: Path) -> None:
    task = toy.PairTask().eval()
    before = weights(task)
    run(tmp_path / "run", task=task)
    assert set(task.modes) == {True}
    after = weights(task)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("frozen"), name


def test_what_is_logged(tmp_path: Path) -> None:
    run(tmp_path / "run")
    lines = events(tmp_path / "run")
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 9]
    assert all(line["half"] == pytest.approx(line["loss"] / 2) for line in lines)
    assert [line["epoch"] for line in lines] == pytest.approx([2 / 3, 4 / 3, 2, 8 / 3, 3])
    full = 0.1 * 3 / 512
    assert lines[0]["lr"] == pytest.approx(full)
    assert lines[-1]["lr"] == pytest.approx(full * 0.5 * (1 + np.cos(np.pi / 3)))


class Slow(toy.MemoryDataset):
    """Photos that take a while."""

    def photo(self, item: Item) -> np.ndarray:
        time.sleep(0.02)
        return super().photo(item)


def test_the_time_waited_for_photos_is_told(tmp_path: Path) -> None:
    """Beside the events, which are the same for a cut run: in times.jsonl, a line with each."""
    run(tmp_path / "slow", views=toy.views(Slow(toy.TAGS)))
    lines = read_lines(tmp_path / "slow" / TIMES)
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 9]
    for line, photos in zip(lines, (6, 6, 6, 6, 3), strict=True):
        assert 0.02 * photos <= line["waited"] <= line["seconds"] + 0.002
    seconds, waited = times(tmp_path / "slow")
    assert 0.02 * 27 <= waited <= seconds
    assert times(tmp_path) == (0, 0)


def test_the_loss_is_the_mean_over_all_pairs(tmp_path: Path) -> None:
    """However a batch is cut, the logged loss is the plain mean over the step's pairs."""
    task, data = toy.PairTask(), toy.views()
    plan = Plan(data.pairs, epochs=1, batch=3, seed=0)
    rows = [data[(0, int(index))] for index in plan.photos(0)]
    image, tags, noise, *_ = (torch.stack(column) for column in zip(*rows, strict=True))
    with torch.no_grad():
        values = torch.cat(
            [(task.net(i[None]) + n.mean())[t[None]] for i, t, n in zip(image, tags, noise, strict=True)]
        )
    run(tmp_path / "run", stage=replace(STAGE, epochs=1, accumulate=3), settings=replace(RUN, log_every=1))
    assert events(tmp_path / "run")[0]["loss"] == pytest.approx(values.square().mean().item(), rel=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_stop_leaves_a_checkpoint(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(RUN, checkpoint_seconds=1e9)
    whole, original = weights(run(tmp_path / "whole", settings=settings)), loop._log
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]

    def log(progress: Any, *rest: Any) -> None:
        original(progress, *rest)
        if progress.step == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop, "_log", log)
    with pytest.raises(Stopped, match="toy stopped at step 4 of 9; run the same command to resume"):
        run(tmp_path / "run", settings=settings)
    monkeypatch.setattr(loop, "_log", original)
    assert handlers == [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    assert (tmp_path / "run" / CHECKPOINT).is_file()
    assert equal(weights(run(tmp_path / "run", settings=settings)), whole)


def test_a_loss_that_is_not_a_number_ends_training(tmp_path: Path) -> None:
    task = toy.PairTask()
    task.net[1].weight.data[0, 0] = float("nan")
    with pytest.raises(UserError, match="not a finite number at step 1; nothing after step 0 is kept"):
        run(tmp_path / "run", task=task)


def test_broken_checkpoints_are_named(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="delete it to start this step anew"):
        run(tmp_path)


def test_mixed_precision_runs(tmp_path: Path) -> None:
    """In a process of its own, since the engine keeps its precision for good."""
    import subprocess
    import sys

    from tests import tiny

    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from tests.training import test_loop as t\n"
        "task = t.run(Path(sys.argv[1]), settings=replace(t.RUN, precision='bf16'))\n"
        "assert all(v.dtype == t.torch.float32 and t.torch.isfinite(v).all() for v in t.weights(task).values())"
    )
    environment = tiny.environment() | {"PYTHONPATH": f"{tiny.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"],
        env=environment,
        cwd=tiny.ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


def test_tells_when_an_epoch_is_over(tmp_path: Path) -> None:
    """After every epoch, before a checkpoint of its last step, also where training goes on from a checkpoint."""
    seen: list[tuple[int, int]] = []

    def note(epoch: int) -> None:
        progress = loop.load_progress(tmp_path / CHECKPOINT)
        seen.append((epoch, 0 if progress is None else progress.step))

    task = toy.PairTask()
    train(
        task, toy.views(), engine=Engine.start(RUN), settings=STAGE, run=RUN, workers=0, folder=tmp_path,
        fingerprint="f", label="toy", after_epoch=note,
    )  # fmt: skip
    assert seen == [(1, 2), (2, 5), (3, 8)]
