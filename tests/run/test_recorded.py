"""What a step reads is recorded as it reads it: every setting that changes a result makes the right steps outdated."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from semples.core.schema import describe, leaves, merge, parse_override
from semples.recipe import Recipe, override
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.records import read_manifest
from semples.settings.kinds import STAGES
from tests import tiny
from tests.e2e.conftest import material  # noqa: F401 (a fixture)

SMALL = (
    "data.workers=0", "labels.method=regions+crf", "regions.proposals=slic", "regions.scales=[6]", "selection.photos=4",
    "warmup.epochs=1", "matching.epochs=1", "prompting.epochs=1", "refinement.epochs=1", "crf.iterations=1",
    "segmenter.model=scratch:semples_vit", "segmenter.iterations=1", "segmenter.batch=2", "segmenter.image_size=32",
)  # fmt: skip
VARIANTS = {
    "auto": (),
    "fixed": ("labels.select=fixed", "regions.proposals=felzenszwalb"),
    "masks": ("labels.select=ground-truth", "matching.select_epoch=ground-truth", "refinement.select_epoch=auto"),
}
"""Recipes that together look at everything there is to look at, but for a SAM and features, which need weights."""

NEUTRAL = {
    "name", "about", "base", "run.careful_minutes", "run.checkpoint_seconds", "run.log_every", "run.wait_hours",
    "run.trackers", "data.workers", "data.cache", "data.cache_gb", "cams.batch", "regions.points_batch",
}  # fmt: skip
"""Settings that change how fast a run is or what it says, not what it makes; the schema must agree."""


@pytest.fixture(scope="module")
def runs(material: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Context]:  # noqa: F811
    made = {}
    for name, changes in VARIANTS.items():
        from semples.recipe import load_recipe

        recipe = load_recipe(material.recipe, [*SMALL, *changes])
        context = Context(recipe, Source(material.photos), tmp_path_factory.mktemp(name) / "run")
        pipeline.run(context, steps=[*(step.name for step in pipeline.run_steps(recipe)), "segmenter"])
        made[name] = context
    return made


def read_by(context: Context) -> dict[str, set[str]]:
    """Settings that each step has read."""
    settings = {}
    for name in pipeline.known_steps():
        manifest = read_manifest(context.folder(name))
        if manifest is not None:
            settings[name] = {key.removeprefix("setting:") for key in manifest["reads"] if key.startswith("setting:")}
    return settings


def test_every_setting_that_changes_a_result_is_read_by_a_step(runs: dict[str, Context]) -> None:
    assert {key for key, _ in leaves(Recipe())} - {key for key, _ in leaves(Recipe(), neutral=False)} == NEUTRAL
    read = {key for context in runs.values() for keys in read_by(context).values() for key in keys}
    every = {key for context in runs.values() for key, _ in leaves(context.recipe)}
    unread = every - read - NEUTRAL
    assert not {key for key in unread if not key.startswith("features.")}, unread
    assert not read & NEUTRAL


def test_a_stage_reads_its_own_group_alone(runs: dict[str, Context]) -> None:
    for context in runs.values():
        for step, keys in read_by(context).items():
            groups = {key.split(".")[0] for key in keys} & set(STAGES.shipped)
            assert groups == ({step} if step in STAGES.shipped else set()), step


def changed(recipe: Recipe, key: str) -> Any:
    """Another allowed value of a setting."""
    *groups, name = key.split(".")
    owner: Any = recipe
    for group in groups:
        owner = getattr(owner, group)
    value, hint = getattr(owner, name), get_type_hints(type(owner))[name]
    if name == "class_template":
        return "a drawing of {name}."
    if name == "trackers":
        return "none"
    if get_origin(hint) is Literal:
        return next(option for option in get_args(hint) if option != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str) and float in get_args(hint):
        return 0.5
    if isinstance(value, str) and int in get_args(hint):
        return 7
    if isinstance(value, str) and tuple[str, ...] in get_args(hint):
        return ["water", "rails"]
    if isinstance(value, str) and tuple in map(get_origin, get_args(hint)):
        return [0.2, 0.3]
    if isinstance(value, str):
        return "owner/name"
    if isinstance(value, tuple):
        return [entry * 0.9 for entry in value]
    return value + 1 if isinstance(value, int) else value * 0.9 + 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_changed_setting_makes_the_steps_that_read_it_outdated(variant: str, runs: dict[str, Context]) -> None:
    context = runs[variant]
    read = read_by(context)
    assert {entry.state for entry in pipeline.status(context)} == {"done"}
    for key, *_ in describe(context.recipe):
        if key.split(".")[-1] in ("kind", "method", "proposals") or key.startswith("features."):
            continue  # which thing there is; the next test
        if key == "data.split":  # this folder has no lists to choose from
            continue
        other = merge(context.recipe, parse_override(f"{key}={json.dumps(changed(context.recipe, key))}"), where="test")
        states = {entry.step: entry for entry in pipeline.status(replace(context, recipe=other))}
        outdated = {name for name, entry in states.items() if entry.state == "outdated"}
        assert {name for name, keys in read.items() if key in keys} <= outdated, key
        for name in outdated:
            reads_it = key in read[name]
            reads_weights = any(line.startswith("owner/name") for line in states[name].why)
            after = any("is outdated" in line for line in states[name].why)
            assert reads_it or after or reads_weights, (key, name, states[name].why)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("generator.kind=weaktr", None),
        ("judge.class_template=a drawing of {name}.", "matching"),
        ("labels.method=threshold", "selection"),
        ("labels.method=regions", "selection"),
        ("regions.proposals=felzenszwalb", "regions"),
        ("labels.threshold=0.1", None),
        ("matching.lambda_background=1", "matching"),
        ("prompting.lambda_prompt=1", "prompting"),
        ("refinement.lambda_refinement=1", "refinement"),
        ("selection.photos=3", "selection"),
        ("cams.scales=1", "cams"),
        ("crf.iterations=2", "selection"),
        ("run.log_every=7", None),
        ("warmup.epochs=2", "warmup"),
    ],
)
def test_what_status_calls_up_to_date_is(
    change: str, first: str | None, runs: dict[str, Context], tmp_path: Path
) -> None:
    """Run with the change from nothing, and as an update of the finished run: the same files."""
    whole = runs["auto"]
    updated = replace(whole, out=tmp_path / "updated", recipe=override(whole.recipe, [change]))
    shutil.copytree(whole.out, updated.out)
    steps = [step.name for step in pipeline.run_steps(updated.recipe)]
    outcomes = {outcome.step: outcome.state for outcome in pipeline.run(updated)}
    done = [name for name in steps if outcomes[name] == "done" and not name.startswith("health-")]
    assert (done[0] if done else None) == first, done
    anew = replace(updated, out=tmp_path / "anew")
    pipeline.run(anew)
    for step in steps:
        assert files(updated.folder(step)) == files(anew.folder(step)), step


def files(folder: Path) -> dict[str, bytes]:
    """Outputs of a step; log lines say how often losses were looked at."""
    skipped = ("manifest.json", "started.json", "outputs.txt", "events.jsonl", "times.jsonl")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped and "tensorboard" not in path.parts
    }


def test_a_step_depends_on_the_content_of_its_weights(runs: dict[str, Context], tmp_path: Path) -> None:
    context = runs["fixed"]
    copied = tmp_path / "clip"
    shutil.copytree(Path(context.recipe.judge.model), copied)  # type: ignore[attr-defined]
    moved = replace(context, recipe=override(context.recipe, [f"judge.model={copied}"]), out=tmp_path / "run")
    shutil.copytree(context.out, moved.out)
    pipeline.run(moved, until="matching")
    assert {entry.step: entry.state for entry in pipeline.status(moved)}["matching"] == "done"
    (copied / "generation_config.json").write_text("{}", encoding="utf-8")
    states = {entry.step: entry for entry in pipeline.status(moved)}
    assert states["matching"].state == "outdated"
    assert states["matching"].why == (f"{copied} has changed",)


def test_how_a_segmenter_is_used_later_trains_nothing(runs: dict[str, Context], tmp_path: Path) -> None:
    context = replace(runs["fixed"], out=tmp_path / "run")
    shutil.copytree(runs["fixed"].out, context.out)
    weights = context.folder("segmenter") / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    context = replace(context, recipe=override(context.recipe, ["segmenter.predict.mirror=true"]))
    assert {entry.step: entry.state for entry in pipeline.status(context)}["segmenter"] == "outdated"
    (outcome,) = pipeline.run(context, steps=["segmenter"])
    assert outcome.state == "done"
    assert "mirror: true" in (context.folder("segmenter") / "model" / "recipe.yaml").read_text(encoding="utf-8")
    again = replace(context, recipe=override(context.recipe, ["segmenter.lr=0.5"]))
    pipeline.run(again, steps=["segmenter"])
    assert weights.stat().st_mtime_ns > before
    assert tiny.ROOT.is_dir()
