"""Curves in TensorBoard, Weights & Biases and MLflow: told once, in one tracked run, and never in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from semples.core.errors import Note, UserError
from semples.recipe import RunSettings, load_recipe
from semples.training.events import EventLog, read_lines
from semples.training.loop import _events
from semples.training.trackers import STATE, Tracking, tracker_names
from tests import tiny
from tests.training import tracked

ALL = ("tensorboard", "wandb", "mlflow")
for package in ALL:
    pytest.importorskip(package)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name, value in tracked.offline().items():
        monkeypatch.setenv(name, value)


def services() -> set[int]:
    """Processes of Weights & Biases on this machine."""
    return {process.pid for process in psutil.process_iter() if "wandb-core" in _name(process)}


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def without_trackers(run: Path) -> dict[str, object]:
    """What the run left, but for the trackers' own files and the setting itself."""
    left = {name: value for name, value in tiny.results_of(run).items() if not name.startswith(("wandb/", "mlflow/"))}
    for name in ("run.json", "recipe.yaml", STATE):
        left.pop(name, None)
    return left


def test_a_killed_run_goes_on_in_its_tracked_run(tmp_path: Path) -> None:
    """Killed after checkpoints no longer follow the log: steps that were told are made again, and not told again."""
    clip = tiny.save_clip(tmp_path / "clip")
    photos, recipe = tiny.draw_photos(tmp_path / "photos"), tiny.write_recipe(tmp_path / "tiny.yaml", clip)
    common = ["run", recipe, "--data", photos, "--until", "matching", "--set=matching.epochs=24"]
    common += ["--set=run.log_every=1", "--set=run.checkpoint_seconds=0.3"]
    plain, out, before = tmp_path / "plain", tmp_path / "out", services()
    tiny.invoke(*common, "--out", plain, "--set=run.trackers=none")
    assert not list(plain.rglob("*tfevents*"))
    arguments = [*map(str, common), "--out", str(out), f"--set=run.trackers={','.join(ALL)}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "semples", *arguments], env=tiny.environment(), stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    events, deadline = out / "matching" / "events.jsonl", time.monotonic() + 120
    while not events.is_file() or len(events.read_bytes().splitlines()) < 14:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    told = json.loads((out / STATE).read_text(encoding="utf-8"))["wandb"]["stages"]["matching"]["step"]
    assert told >= 13  # a line is told once it is written
    tiny.invoke(*arguments)
    assert without_trackers(plain) == without_trackers(out)

    expected = read_lines(out / "matching" / "events.jsonl")
    steps, losses = [line["step"] for line in expected], [line["loss"] for line in expected]
    assert steps == list(range(1, len(steps) + 1))
    ids, config, lines = tracked.wandb_of(out)
    curve = tracked.wandb_curve(lines, "matching", "loss")
    assert len(ids) == 1
    assert config["matching.epochs"] == 24
    assert config["judge.model"] == str(clip)
    told_twice = [step for step, count in Counter(step for step, _ in curve).items() if count > 1]
    assert told_twice == []
    assert {step for step in steps if step > told} <= dict(curve).keys()
    assert dict(curve).items() <= dict(zip(steps, losses, strict=True)).items()
    assert len({line["_step"] for line in lines}) == len(lines)
    assert all("matching/foreground" in line for line in lines if "matching/loss" in line)
    assert tracked.wandb_curve(lines, "warmup", "loss")  # written before the kill
    (run,) = tracked.mlflow_runs(out)
    assert run.info.run_name == "out"
    assert run.data.params["matching.epochs"] == "24"
    theirs = tracked.mlflow_curve(out, run.info.run_id, "matching", "loss")
    assert [step for step, _ in theirs] in (steps, [step for step in steps if step != told])
    board = tracked.tensorboard_curve(out / "matching", "loss")
    assert [step for step, _ in board] == steps
    assert [value for _, value in board] == pytest.approx(losses)
    deadline = time.monotonic() + 20
    while services() - before:  # the killed program's, and this one's
        assert time.monotonic() < deadline
        time.sleep(0.1)


def tracking(folder: Path, *names: Any) -> Tracking:
    folder.mkdir(exist_ok=True)
    return Tracking(folder, names, config={"warmup.epochs": 3})


def train(used: Tracking, stage: str, steps: range, *, first: int = 0, fingerprint: str = "f") -> None:
    """A stage of so many steps, told one by one."""
    folder = used.folder / stage
    folder.mkdir(exist_ok=True)
    log = EventLog(
        folder,
        first_step=first,
        sinks=lambda kept: used.sinks(stage, folder, kept, fingerprint=fingerprint, first_step=first),
    )
    for step in steps:
        log.write({"step": step, "loss": step / 4})
    log.close()


def test_one_run_for_all_stages_and_another_for_a_stage_made_anew(tmp_path: Path) -> None:
    for calls in (
        [("warmup", range(1, 4), 0), ("matching", range(1, 6), 0)],
        [("matching", range(3, 8), 2)],  # of a program that went on from step 2
    ):
        now = tracking(tmp_path / "run", "mlflow")
        for stage, steps, first in calls:
            train(now, stage, steps, first=first)
        now.close()
    (run,) = tracked.mlflow_runs(tmp_path / "run")
    curve = tracked.mlflow_curve(tmp_path / "run", run.info.run_id, "matching", "loss")
    assert curve == [(step, step / 4) for step in range(1, 8)]
    now = tracking(tmp_path / "run", "mlflow")
    train(now, "matching", range(1, 3), fingerprint="other settings")
    now.close()
    assert len(tracked.mlflow_runs(tmp_path / "run")) == 2
    assert tracked.mlflow_curve(tmp_path / "run", run.info.run_id, "matching", "loss") == curve


def test_what_was_not_told_before_is_told(tmp_path: Path) -> None:
    """A tracker that is asked for in the middle of a stage gets the stage from its start."""
    plain = tracking(tmp_path / "run", "tensorboard")
    train(plain, "matching", range(1, 5))
    plain.close()
    now = tracking(tmp_path / "run", "mlflow", "tensorboard")
    train(now, "matching", range(3, 6), first=2)
    now.close()
    (run,) = tracked.mlflow_runs(tmp_path / "run")
    curve = tracked.mlflow_curve(tmp_path / "run", run.info.run_id, "matching", "loss")
    assert curve == [(step, step / 4) for step in range(1, 6)]
    assert [step for step, _ in tracked.tensorboard_curve(tmp_path / "run" / "matching", "loss")] == [1, 2, 3, 4, 5]


def test_files_of_tensorboard_of_one_second_are_read_in_their_order(tmp_path: Path) -> None:
    """Its reader orders them by second and process: a program that goes on at once may have the smaller number."""
    for steps, first in ((range(1, 5), 0), (range(3, 6), 2)):
        now = tracking(tmp_path / "run", "tensorboard")
        train(now, "matching", steps, first=first)
        now.close()
        for path in (tmp_path / "run").rglob("events.out.tfevents.*"):
            if first == 0:
                path.rename(path.with_name(f"events.out.tfevents.{int(time.time())}.z"))  # behind any other's
    curve = tracked.tensorboard_curve(tmp_path / "run" / "matching", "loss")
    assert [step for step, _ in curve] == [1, 2, 3, 4, 5]


def test_a_tracker_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    now = tracking(tmp_path / "run", "mlflow", "tensorboard")
    sent = mlflow.log_metrics
    down = [False]

    def fail(*arguments: Any, step: int, **others: Any) -> None:
        if down[0] or step == 3:
            raise ConnectionError("no route to host\nmore")
        sent(*arguments, step=step, **others)

    monkeypatch.setattr(mlflow, "log_metrics", fail)
    with pytest.warns(Note) as notes:
        train(now, "matching", range(1, 6))
    assert [str(note.message) for note in notes] == ["mlflow: no route to host; the stage goes on without it"]
    assert [line["step"] for line in read_lines(now.folder / "matching" / "events.jsonl")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in tracked.tensorboard_curve(now.folder / "matching", "loss")] == [1, 2, 3, 4, 5]
    (run,) = tracked.mlflow_runs(now.folder)
    assert [step for step, _ in tracked.mlflow_curve(now.folder, run.info.run_id, "matching", "loss")] == [1, 2]
    train(now, "refinement", range(1, 3))  # the next stage tries again
    now.close()
    assert [step for step, _ in tracked.mlflow_curve(now.folder, run.info.run_id, "refinement", "loss")] == [1, 2]


def test_a_service_that_cannot_be_reached_at_the_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    now = tracking(tmp_path / "run", "mlflow")
    with pytest.raises(UserError, match=r"run\.trackers: mlflow cannot be used: .*leave it out") as told:
        train(now, "matching", range(1, 3))
    assert "\n" not in str(told.value)


def test_damaged_notes_begin_a_new_run(tmp_path: Path) -> None:
    for content in ("{", "[1]", '{"mlflow": 3}', '{"mlflow": {"id": "x"}}'):
        folder = tmp_path / str(len(content))
        folder.mkdir()
        (folder / STATE).write_text(content, encoding="utf-8")
        now = tracking(folder, "mlflow")
        train(now, "matching", range(1, 3))
        now.close()
        assert len(tracked.mlflow_runs(folder)) == 1


def test_only_process_0_logs(tmp_path: Path) -> None:
    other: Any = types.SimpleNamespace(is_main=False)
    with _events(None, RunSettings(trackers=("mlflow",)), other, tmp_path, "matching", "f", 0) as log:
        assert log is None
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tiny.draw_photos(tmp_path / "photos")
    monkeypatch.setattr("accelerate.utils.is_wandb_available", lambda: False)
    line = tiny.refused("run", "folder", "--data", photos, "--out", tmp_path / "out", "--set=run.trackers=wandb")
    assert "run.trackers: wandb is not installed: pip install 'semples[wandb]'" in line
    assert not (tmp_path / "out").exists()
    given = ["--out", tmp_path / "out", "--set=run.trackers=wandb"]
    for command in (["plan", "folder", "--data"], ["segment", "train", "--labels", photos / "masks", "--photos"]):
        assert "pip install 'semples[wandb]'" in tiny.refused(*command, photos, *given)


def test_the_setting() -> None:
    recipe = load_recipe("demo", ["run.trackers=[wandb, mlflow, wandb]"])
    assert tracker_names(recipe.run.trackers) == ("wandb", "mlflow")
    assert tracker_names(load_recipe("demo").run.trackers) == ("tensorboard",)
    assert tracker_names(load_recipe("demo", ["run.trackers=none"]).run.trackers) == ()
    with pytest.raises(UserError, match=r"run\.trackers: 'comet' is not one of auto, none or a list of tensorboard"):
        load_recipe("demo", ["run.trackers=comet"])


def test_nothing_is_imported_unasked() -> None:
    """Neither by the package nor by its loop."""
    names = "'wandb', 'mlflow', 'tensorboard'"
    code = f"import sys, semples.training.loop, semples.run.pipeline; print([n in sys.modules for n in ({names})])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[False, False, False]"
