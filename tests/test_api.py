"""The Python API: the examples of docs/api.md and of docstrings, laziness, types, resuming, mistakes."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semples
from semples.core.errors import Stopped, UserError
from semples.data.demo.world import write_world
from semples.training import loop
from tests import tiny
from tests.prediction import material

SHORT = [
    "warmup.epochs=1", "matching.epochs=1", "prompting.epochs=1", "refinement.epochs=1", "selection.photos=4",
    "data.workers=0", "labels.method=threshold", "cams.scales=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    write_world(folder / "world", photos={"train": 24, "val": 4}, seed=0, class_count=3)
    return folder


def test_the_examples_of_the_page_run(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    page = tiny.ROOT / "docs" / "api.md"
    outcome = doctest.testfile(str(page), module_relative=False, globs={"SHORT": SHORT}, encoding="utf-8")
    assert outcome.attempted > 20
    assert outcome.failed == 0


@pytest.mark.parametrize("module", ["semples.api.networks", "semples.api.run", "semples.api.trainer"])
def test_the_examples_of_docstrings_run(module: str) -> None:
    __import__(module)
    outcome = doctest.testmod(sys.modules[module])
    assert outcome.failed == 0


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, semples; dir(semples); print([name for name in ('torch', 'numpy', 'yaml') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_every_name_is_there_and_typed() -> None:
    for name in semples.__all__:
        assert getattr(semples, name) is not None
    assert (Path(semples.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        semples.nothing  # noqa: B018


def stage(data: Any) -> semples.stages.Matching:
    generator = semples.generator("weaktr", classes=data.classes, start="shipped:demo_vit", image_size=96, seed=1)
    judge = semples.judge("clip", classes=data.classes, model="shipped:demo_clip")
    return semples.stages.Matching(generator, judge, cam_epsilon="relative")


def weights(made: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


def test_a_script_that_is_cut_goes_on(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = semples.open_dataset(world / "world", split="train")
    course: dict[str, Any] = {"epochs": 2, "batch": 8, "base_lr": 0.1}
    whole = weights(semples.Trainer(tmp_path / "whole", log_every=1)(stage(data), data, **course))
    original = loop._log

    def log(progress: Any, *rest: Any) -> Any:
        result = original(progress, *rest)
        if progress.step == 4:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(loop, "_log", log)
    with pytest.raises(Stopped):
        semples.Trainer(tmp_path / "cut", log_every=1)(stage(data), data, **course)
    monkeypatch.setattr(loop, "_log", original)
    again = weights(semples.Trainer(tmp_path / "cut", log_every=1)(stage(data), data, **course))
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    monkeypatch.setattr("semples.api.trainer.train", None)  # what is finished is taken up
    taken = weights(semples.Trainer(tmp_path / "cut", log_every=1)(stage(data), data, **course))
    assert all(torch.equal(taken[name], value) for name, value in whole.items())
    with pytest.raises(TypeError):  # another setting: trained anew
        semples.Trainer(tmp_path / "cut")(stage(data), data, **{**course, "epochs": 3})


def test_mistakes_are_one_line(world: Path, tmp_path: Path) -> None:
    data = semples.open_dataset(world / "world", split="train")
    cam, photo = np.zeros((1, 1), np.float32), np.zeros((1, 1, 3), np.uint8)
    for mistake, says in (
        (lambda: semples.generator("weakt", classes=["a"]), "did you mean weaktr"),
        (lambda: semples.generator("weaktr", classes=["a"], widht=3), "did you mean width"),
        (lambda: semples.judge("clip", classes=[], model="shipped:demo_clip"), "class list is empty"),
        (lambda: semples.Run(tmp_path / "none"), "no run here"),
        (lambda: semples.Trainer(tmp_path)(stage(data), data, lambda_background=3), "give it to the stage itself"),
        (lambda: semples.label("region"), "did you mean regions"),
        (lambda: semples.label("threshold", classes=["a"])({"b": cam}, photo), "no class 'b'"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says) as caught:
            mistake()
        assert "\n" not in str(caught.value)


def test_a_photo_that_a_run_does_not_have(tmp_path: Path) -> None:
    """One clear line, which is a UserError for people and a KeyError for a mapping."""
    run = semples.Run(material.run(tmp_path / "run", tiny.draw_photos(tmp_path / "photos", count=5)))
    for mapping in (run.cams, run.labels, run.cams_after("refinement")):
        for kind in (UserError, KeyError):
            with pytest.raises(kind) as caught:
                mapping["p01.png"]
            assert str(caught.value) == f"{run.folder}: no photo 'p01.png'; did you mean 'p01'?"
        assert "p01.png" not in mapping
        assert "p01" in mapping
        assert mapping.get("p01.png") is None
        with pytest.raises(UserError, match=r"photos are called by their ids: p00, p01, p02 \.\.\.$"):
            mapping["a photo of somebody else"]
    with pytest.raises(UserError, match="did you mean 'p02'"):
        run.item("p02.jpg")
    assert run.item("p02").photo.name == "p02.png"
    with pytest.raises(UserError, match="warmup, matching or refinement"):
        run.cams_after("last")
    with pytest.raises(UserError, match="warmup, matching or refinement"):
        run.generator("last")
    with pytest.raises(UserError, match=r"cams-warmup"):
        run.cams_after("warmup")["p01"]
    (run.folder / "labels/p01.png").unlink()
    with pytest.raises(UserError, match=r"labels/p01\.png"):
        run.labels["p01"]
