"""The order of steps, what each needs, and what is made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.recipe import Recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.pipeline import _slice, known_steps, open_run, run_steps
from semples.run.step import Step
from semples.run.work import Work
from tests.run.test_folder import damage


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


def toy_steps(log: list[str], values: dict[str, Any]) -> dict[str, Step]:
    """a -> b -> c, each of which also depends on a value of its own."""

    def make(name: str, needs: tuple[str, ...]) -> Step:
        def run(work: Work) -> dict[str, Any]:
            log.append(name)
            for need in needs:
                work.step(need)
            work.fact("value")
            if values.get("fail") == name:
                raise UserError("no")
            (work.folder / "out").write_text(name, encoding="utf-8")
            return {"figure": float("nan") if name == "c" else 1.0}

        facts = {"value": lambda context: values.get(name)}
        return Step(name, f"about {name}", needs, run, facts=facts)

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
        entries = pipeline.status(context)
        assert "".join("o" if entry.state == "outdated" else "d" for entry in entries) == expected
        assert all(bool(entry.why) == (entry.state == "outdated") for entry in entries)
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


@pytest.mark.parametrize("how", ["emptied", "halved", "deleted", "flipped"])
def test_damage_is_healed_by_the_same_command(how: str, toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, log, _ = toy
    pipeline.run(context)
    for path in ("a/out", "b/manifest.json", "b/started.json", "c/outputs.txt", "b/out"):
        file = context.out / path
        before = file.read_bytes()
        damage(file, how)
        log.clear()
        pipeline.run(context)
        assert file.read_bytes() == before, path
        assert log == ([path[0]] if path.endswith("out") else []), path
        assert [entry.state for entry in pipeline.status(context)] == ["done"] * 3, path


def test_a_damaged_step_is_told(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, _, _ = toy
    pipeline.run(context)
    (context.out / "b" / "out").write_text("", encoding="utf-8")
    said: list[str] = []
    assert [entry.state for entry in pipeline.status(context)] == ["done", "damaged", "done"]
    pipeline.run(context, tell=said.append)
    assert "b: b/out missing or damaged, made again" in said


def test_a_step_reads_only_steps_that_it_names(toy: tuple[Context, list[str], dict[str, Any]]) -> None:
    context, _, _ = toy
    pipeline.run(context)
    with pytest.raises(ValueError, match="does not say that it needs a"):
        Work(context, "c", context.folder("c"), needs=("b",)).step("a")
    with pytest.raises(ValueError, match="changes results"):
        Work(context, "c", context.folder("c")).speed("matching.epochs")
