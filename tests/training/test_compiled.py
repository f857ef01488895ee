"""`run.compile` trains the same, to the tolerance of golden losses; afterwards the task is as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from semples.networks.clip import FrozenClip
from semples.recipe import RunSettings, StageSettings
from semples.training import engine as engines
from semples.training.engine import Engine
from semples.training.events import read_lines
from semples.training.loop import train
from tests import tiny
from tests.stages.test_stages import task
from tests.training import toy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", ["matching", "prompting"])
def test_compiled_stages_train_alike(compiler: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler == "inductor" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler for processors")
    monkeypatch.setattr(engines, "COMPILER", compiler)
    clip = FrozenClip.load(str(tiny.save_clip(tmp_path / "clip", image_size=toy.SIDE, patch_size=8)))
    weights, losses = [], []
    for compiled in (False, True):
        run, made = RunSettings(compile=compiled, log_every=1), task(name, clip)
        out = tmp_path / f"compiled {compiled}"
        out.mkdir()
        train(
            made, toy.views(), engine=Engine.start(run), settings=StageSettings(epochs=1, batch=3, base_lr=0.05),
            run=run, workers=0, folder=out, fingerprint="f", label=name,
        )  # fmt: skip
        assert made._compiled_call_impl is None
        weights.append(torch.cat([value.detach().flatten() for value in made.trained()]))
        losses.append([line["loss"] for line in read_lines(out / "events.jsonl")])
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=2e-5)
