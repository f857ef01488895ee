"""The order of steps, what each needs, and folders that were cut while they were being prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semples import pipeline
from semples.errors import UserError
from semples.files import write_json
from semples.pipeline import MANIFEST, STARTED, _prepare, _slice, known_steps, open_run, run_steps
from semples.recipe import Recipe
from semples.steps.base import Context, Source, Step


def test_every_step_comes_after_what_it_needs() -> None:
    done: set[str] = set()
    for step in run_steps():
        assert set(step.needs) <= done, step.name
        done.add(step.name)
    for step in known_steps().values():
        assert set(step.needs) <= set(known_steps())


def test_slices() -> None:
    names = ["a", "b", "c"]
    assert _slice(names, None, None) == names
    assert _slice(names, "b", None) == names
    assert _slice(names, None, "b") == ["a", "b"]
    assert _slice(names, "b", "b") == ["a", "b"]
    with pytest.raises(UserError, match="--from c comes after --until b"):
        _slice(names, "c", "b")
    with pytest.raises(UserError, match="--until x: no such step; the steps are a, b, c"):
        _slice(names, None, "x")


def filled(folder: Path, *, fingerprint: str = "f", manifest: bool = False) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "result").write_text("x")
    (folder / "deep" / ".p01.abcd.tmp.npz").write_text("half")
    write_json(folder / STARTED, {"fingerprint": fingerprint})
    if manifest:
        write_json(folder / MANIFEST, {"fingerprint": fingerprint, "seconds": 1, "result": {}})
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_interrupted_step_is_resumed_and_leftovers_go(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a")
    assert _prepare(folder, "f", keep=True)
    assert names_in(folder) == ["deep/result", STARTED]


@pytest.mark.parametrize(
    ("fingerprint", "keep", "manifest"), [("other", True, False), ("f", False, False), ("f", True, True)]
)
def test_anything_else_of_ours_is_emptied(fingerprint: str, keep: bool, manifest: bool, tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", manifest=manifest)
    assert not _prepare(folder, fingerprint, keep=keep)
    assert names_in(folder) == [STARTED]
    assert json.loads((folder / STARTED).read_text()) == {"fingerprint": fingerprint}


def test_emptying_may_be_cut_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left is neither taken for a finished step, nor for one to resume, nor for somebody else's."""

    class Cut(BaseException):
        pass

    calls = ("write_json", "shutil.rmtree")
    for number in range(4):
        folder, count = filled(tmp_path / f"{number}", manifest=True), [0]
        with monkeypatch.context() as patch:
            for call in calls:
                owner: Any = pipeline.shutil if "." in call else pipeline  # type: ignore[attr-defined]
                name = call.split(".")[-1]
                original = getattr(owner, name)

                def cut(
                    *arguments: Any,
                    original: Any = original,
                    number: int = number,
                    count: list[int] = count,
                    **more: Any,
                ) -> Any:
                    if count[0] == number:
                        raise Cut
                    count[0] += 1
                    return original(*arguments, **more)

                patch.setattr(owner, name, cut)
            try:
                _prepare(folder, "new", keep=True)
            except Cut:
                assert (folder / MANIFEST).is_file() == (number == 0)
        assert not _prepare(folder, "new", keep=True) or names_in(folder) == [STARTED]
        assert names_in(folder) == [STARTED]


def test_a_first_write_that_was_cut_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".started.k2x.tmp.json").touch()
    assert not _prepare(tmp_path / "a", "f", keep=True)
    assert names_in(tmp_path / "a") == [STARTED]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not empty and not made by this program"):
        _prepare(tmp_path / "a", "f", keep=True)
    assert names_in(tmp_path / "a") == ["thesis.tex"]


def toy_steps(log: list[str], values: dict[str, Any]) -> dict[str, Step]:
    """a -> b -> c, where b also depends on a value of its own."""

    def make(name: str, needs: tuple[str, ...]) -> Step:
        def work(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
            log.append(name)
            if values.get("fail") == name:
                raise UserError("no")
            (folder / "out").write_text(name)
            return {"figure": float("nan") if name == "c" else 1.0}

        return Step(name, f"about {name}", needs, lambda context: {"value": values.get(name)}, work)

    return {name: make(name, needs) for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",)))}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Context, list[str], dict[str, Any]]:
    log: list[str] = []
    values: dict[str, Any] = {}
    steps = toy_steps(log, values)
    monkeypatch.setattr(pipeline, "run_steps", lambda recipe=None: list(steps.values()))
    monkeypatch.setattr(pipeline, "known_steps", lambda: steps)
    return Context(Recipe(), Source(tmp_path), tmp_path / "out"), log, values


def test_only_what_depends_on_a_change_is_redone(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, log, values = toy
    for change, forced, expected in (
        ({}, None, ["a", "b", "c"]), ({}, None, []), ({"b": 1}, None, ["b", "c"]), ({"c": 1}, None, ["c"]),
        ({"b": None, "c": None}, None, ["b", "c"]), ({}, "b", ["b", "c"]), ({}, None, []),
        ({"a": 5}, None, ["a", "b", "c"]),
    ):  # fmt: skip
        values |= change
        log.clear()
        outcomes = pipeline.run(context, start=forced)
        assert log == expected
        assert [outcome.state == "done" for outcome in outcomes] == [name in expected for name in "abc"]
    assert outcomes[2].result["figure"] != outcomes[2].result["figure"]
    assert pipeline.run(context)[2].result == {"figure": None}


def test_a_step_that_fails_is_tried_again(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, log, values = toy
    values["fail"] = "b"
    with pytest.raises(UserError, match="no"):
        pipeline.run(context)
    assert [entry.state for entry in pipeline.status(context)] == ["done", "interrupted", "not run"]
    values.clear()
    log.clear()
    pipeline.run(context)
    assert log == ["b", "c"]
    assert [entry.state for entry in pipeline.status(context)] == ["done"] * 3


def test_status_tells_what_a_run_would_redo(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, log, values = toy
    pipeline.run(context)
    for change, expected in (({"c": 1}, "ddo"), ({"b": 1}, "doo"), ({"a": 1}, "ooo")):
        values |= change
        assert "".join("o" if entry.state == "outdated" else "d" for entry in pipeline.status(context)) == expected
        log.clear()
    pipeline.run(context)
    assert log == ["a", "b", "c"]


def test_needs_are_checked(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, _, _ = toy
    with pytest.raises(UserError, match="c needs the step b, which is not finished"):
        pipeline.run(context, steps=["c"])


def test_a_run_remembers_its_recipe_and_photos(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, _, _ = toy
    pipeline.run(context)
    stored = open_run(context.out)
    assert stored.recipe == context.recipe
    assert stored.source.root == context.source.root
    with pytest.raises(UserError, match="no run here"):
        open_run(context.out / "a")
