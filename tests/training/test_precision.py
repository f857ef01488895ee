"""Precision: what `auto` is where, the scaler of fp16, and what a task computes in once it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semples.core.devices import OFF, check_cards
from semples.core.errors import UserError
from semples.core.ranks import Ranks
from semples.networks.pairs import Pairs
from semples.networks.precision import at_precision, automatic, exact_products
from semples.recipe import RunSettings, StageSettings
from semples.training.engine import FIRST_SCALE, Engine
from semples.training.loop import train
from tests.training import toy

STAGE = StageSettings(epochs=3, batch=3, base_lr=0.1)


def run(
    folder: Path, *, engine: Engine, settings: RunSettings, task: toy.PairTask | None = None,
    stage: StageSettings = STAGE,
) -> toy.PairTask:  # fmt: skip
    folder.mkdir(exist_ok=True)
    task = task or toy.PairTask()
    train(
        task, toy.views(), engine=engine, settings=stage, run=settings, workers=0, folder=folder, fingerprint="f",
        label="toy",
    )  # fmt: skip
    return task


class Seen(TorchDispatchMode):
    """The dtypes of all matrix products within."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "mm" in str(func):
            self.dtypes |= {value.dtype for value in args if isinstance(value, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("gpu", "has_bf16", "expected"), [(False, True, "no"), (True, True, "bf16"), (True, False, "fp16")]
)
def test_auto_is_what_the_machine_has(
    gpu: bool, has_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    assert automatic() == expected


def test_auto_on_a_processor_is_float32(tmp_path: Path) -> None:
    auto, no = RunSettings(), RunSettings(precision="no")
    assert auto.precision == "auto"
    engine = Engine.start(auto)
    assert engine.described(auto) == {
        "device": "cpu", "torch": torch.__version__, "precision": "no", "inference": "no", "tf32": False,
    }  # fmt: skip
    one, other = (
        run(tmp_path / "a", engine=engine, settings=auto),
        run(tmp_path / "b", engine=Engine.start(no), settings=no),
    )
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.parametrize("wanted", [True, False])
def test_tf32_is_said_outright(wanted: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not wanted
    Engine.start(RunSettings(tf32=wanted))
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is wanted
    Engine.start(RunSettings())


def test_training_in_bf16_ends_with_its_stage(tmp_path: Path) -> None:
    """What was trained in half precision computes in float32 afterwards, unless it is asked otherwise."""
    settings = RunSettings(precision="bf16")
    with Seen() as during:
        task = run(tmp_path / "run", engine=Engine.start(settings), settings=settings)
    assert torch.bfloat16 in during.dtypes
    batch = toy.views().collate([toy.views()[(0, 0)]])
    with Seen() as after:
        task(batch, toy.Total(1, 1))
    assert after.dtypes == {torch.float32}


def test_inference_has_a_precision_of_its_own() -> None:
    generator, tags = toy.generator().eval(), torch.tensor([[True, False, True], [False, True, False]])
    image = torch.randn(2, 3, toy.SIDE, toy.SIDE, generator=torch.Generator().manual_seed(0))
    maps, dtypes = {}, {}
    for streamed in (False, True):
        for precision in ("no", "bf16"):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "no"), Seen() as seen:
                with at_precision(torch.device("cpu"), precision), pytest.MonkeyPatch.context() as patch:
                    if streamed:
                        patch.setattr("semples.generators.class_tokens.MAP_BYTES", 0)
                    maps[precision] = generator.cams(image, Pairs.of(tags))
            dtypes[precision] = seen.dtypes
        assert dtypes["no"] == {torch.float32}
        assert torch.bfloat16 in dtypes["bf16"]
        torch.testing.assert_close(maps["bf16"].float(), maps["no"], rtol=0.1, atol=0.02 * maps["no"].max().item())
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        at_precision(torch.device("cpu"), "fp16")


def scaled(
    folder: Path, task: toy.PairTask, stage: StageSettings = STAGE, log_every: int = 2
) -> tuple[toy.PairTask, float, list[dict[str, Any]]]:
    """Training with a scaler as fp16 has it on a GPU, here on the processor; its scale at the end; the log."""
    settings = RunSettings(log_every=log_every)
    engine = Engine.start(settings)
    engine.accelerator.scaler = torch.amp.GradScaler("cpu")
    try:
        run(folder, engine=engine, settings=settings, task=task, stage=stage)
        scale = engine.accelerator.scaler.get_scale()
    finally:
        engine.accelerator.scaler = None
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return task, scale, lines


class Breaks(toy.PairTask):
    """A task whose gradient is infinite in chosen steps, and its loss not."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps, self.step = steps, 0

    def after_step(self, step: int) -> None:
        self.step = step

    def forward(self, batch: Any, total: Any) -> dict[str, torch.Tensor]:
        terms = super().forward(batch, total)
        if self.step in self.steps:
            whole = self.net[1].weight.sum()
            terms["loss"] = terms["loss"] + (whole - whole.detach()).sqrt()  # 0, of infinite slope
        return terms


def test_the_scaler_starts_low_and_anew(tmp_path: Path) -> None:
    task, scale, lines = scaled(tmp_path / "one", toy.PairTask())
    assert scale == FIRST_SCALE < 2**16
    assert [line["skipped"] for line in lines] == [0] * 5
    plain = run(tmp_path / "plain", engine=Engine.start(RunSettings()), settings=RunSettings())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(task.state_dict()[name], value, rtol=0, atol=1e-6)


def test_skipped_steps_are_counted_and_change_nothing(tmp_path: Path) -> None:
    _, scale, lines = scaled(tmp_path / "run", Breaks(1, 2, 3))
    assert [line["skipped"] for line in lines] == [1, 2, 0, 0, 0]
    assert scale == FIRST_SCALE / 2**3
    _, scale, _ = scaled(tmp_path / "next", toy.PairTask())
    assert scale == FIRST_SCALE  # the next stage knows nothing of it


@pytest.mark.parametrize(
    ("epochs", "log_every", "scale"), [(3, 2, "0.5"), (3, 20, "0.5"), (8, 2, "0.25"), (8, 12, "0.0625"), (90, 200, "0")]
)
def test_a_stage_of_which_no_step_can_be_done_is_refused(
    epochs: int, log_every: int, scale: str, tmp_path: Path
) -> None:
    """Once 10 steps were left out, or at the end of a shorter stage; also where the scale has come down to 0."""
    steps, stage = 3 * epochs, StageSettings(epochs=epochs, batch=3, base_lr=0.1)
    upto = min(steps, -(-10 // log_every) * log_every)
    with pytest.raises(UserError) as refused:
        scaled(tmp_path / "run", Breaks(*range(steps)), stage, log_every)
    assert str(refused.value) == (
        f"toy: fp16 has left out all {upto} steps up to step {upto}: gradients are not finite numbers though the loss "
        f"is scaled by {scale} only; set run.precision=bf16 or no"
    )


def test_a_stage_that_finds_its_scale_late_goes_on(tmp_path: Path) -> None:
    """9 of the first 10 steps are left out, and some after: the interval that has a step begins the count anew."""
    left_out = [*range(9), *range(12, 18)]
    _, scale, lines = scaled(tmp_path / "run", Breaks(*left_out), StageSettings(epochs=8, batch=3, base_lr=0.1))
    assert [line["skipped"] for line in lines] == [2, 2, 2, 2, 1, 0, 2, 2, 2, 0, 0, 0]
    assert scale == FIRST_SCALE / 2 ** len(left_out) < 1


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_a_loss_that_is_not_finite_is_refused(value: str, tmp_path: Path) -> None:
    """Also where its gradient is."""

    class Infinite(toy.PairTask):
        def forward(self, batch: Any, total: Any) -> dict[str, torch.Tensor]:
            terms = super().forward(batch, total)
            return {**terms, "loss": terms["loss"] + float(value)}

    with pytest.raises(UserError, match=r"^toy: the loss is not a finite number before step 2; lower"):
        run(tmp_path / "run", engine=Engine.start(RunSettings()), settings=RunSettings(log_every=2), task=Infinite())


def test_more_processes_than_cards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a run (`Engine.start`), and by `predict` and `segment eval` (`Ranks.join`), before they meet."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    check_cards()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for refuses in (check_cards, Ranks.join, lambda: Engine.start(RunSettings(precision="no"))):
        with pytest.raises(UserError, match=r"2 processes .* has 1 GPU; start 1 .*ACCELERATE_USE_CPU=1"):
            refuses()
    monkeypatch.setenv(OFF, "1")
    check_cards()


def test_products_are_exact_within_and_as_before_after() -> None:
    torch.backends.cudnn.allow_tf32 = True
    try:
        with exact_products():
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        Engine.start(RunSettings())
