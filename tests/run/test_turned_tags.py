"""Tags that the other photos contradict, turned over before anything learns from them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.data.dataset import open_dataset
from semples.data.demo.world import write_world
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.turned_tags import FILE

Tags = dict[str, frozenset[str]]
WRONG = {"train_000003": "camel", "train_000020": "boat", "train_000041": "penguin"}  # taken away or added


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of eight classes that the shipped CLIP knows."""
    folder = tmp_path_factory.mktemp("turned") / "world"
    return write_world(folder, photos={"train": 80}, seed=5, p=0.9, class_count=8, resolution=96)


def tags_of(dataset: object) -> Tags:
    return {
        item.id: frozenset(dataset.classes.names[k] for k in item.tags)  # type: ignore[attr-defined]
        for item in dataset.items  # type: ignore[attr-defined]
    }


def write_tags(path: Path, world: Path, tags: Tags) -> Path:
    photos = {item.id: item.photo.relative_to(world).as_posix() for item in open_dataset(world, split="train").items}
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("image", "tags"), *((photos[one], ";".join(names)) for one, names in tags.items())]
        )
    return path


def data_step(world: Path, out: Path, tags: Path, *changes: str) -> Context:
    recipe = load_recipe("demo", ["run.seed=5", *changes])
    context = Context(recipe, Source(world, tags=tags, classes=world / "classes.txt"), out)
    pipeline.run(context, steps=["data"])
    return context


def test_wrong_tags_are_turned_over_and_listed_and_right_ones_stay(world: Path, tmp_path: Path) -> None:
    true = tags_of(open_dataset(world, split="train"))
    given = {photo: names ^ {WRONG[photo]} if photo in WRONG else names for photo, names in true.items()}
    table = write_tags(tmp_path / "tags.csv", world, given)
    context = data_step(world, tmp_path / "run", table, "data.turn_tags=0.8")
    kept = tags_of(context.dataset)
    assert all(kept[photo] == true[photo] for photo in WRONG)
    assert sum(kept[photo] != true[photo] for photo in true) <= 0.05 * len(true)
    with open(context.folder("data") / FILE, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    changed = {(photo, name) for photo in true for name in kept[photo] ^ given[photo]}
    assert {(row["photo"], row["class"]) for row in rows} == changed
    assert all((row["was tagged"] == "yes") == (row["class"] in given[row["photo"]]) for row in rows)
    far = [abs((row["was tagged"] == "yes") - float(row["probability"])) for row in rows]
    assert far == sorted(far, reverse=True)
    assert min(far) >= 0.8


def test_tags_are_believed_unless_the_recipe_says_otherwise(world: Path, tmp_path: Path) -> None:
    given = {photo: names ^ {"boat"} for photo, names in tags_of(open_dataset(world, split="train")).items()}
    context = data_step(world, tmp_path / "run", write_tags(tmp_path / "tags.csv", world, given))
    assert tags_of(context.dataset) == given
    assert not (context.folder("data") / FILE).exists()


def test_open_tags_stay_open(world: Path, tmp_path: Path) -> None:
    true = tags_of(open_dataset(world, split="train"))
    given = {
        photo: frozenset(f"{name}?" for name in names) if photo in WRONG else names for photo, names in true.items()
    }
    context = data_step(world, tmp_path / "run", write_tags(tmp_path / "tags.csv", world, given), "data.turn_tags=0.8")
    names = context.dataset.classes.names
    for item in context.dataset.items:
        if item.id in WRONG:
            assert {names[k] for k in item.open} == true[item.id]
            assert not set(item.tags) & set(item.open)


def test_without_a_judge_it_is_refused_in_one_line(world: Path, tmp_path: Path) -> None:
    true = tags_of(open_dataset(world, split="train"))
    table = write_tags(tmp_path / "tags.csv", world, true)
    recipe = load_recipe("folder-light", ["data.turn_tags=0.8", "data.split=train"])
    assert recipe.judge.kind == "none"
    context = Context(recipe, Source(world, tags=table, classes=world / "classes.txt"), tmp_path / "run")
    with pytest.raises(UserError, match=r"judge\.kind none"):
        pipeline.run(context, steps=["data"])


def test_few_photos_teach_nothing_of_tags(world: Path, tmp_path: Path) -> None:
    true = tags_of(open_dataset(world, split="train"))
    table = write_tags(tmp_path / "tags.csv", world, dict(list(true.items())[:5]))
    context = data_step(world, tmp_path / "run", table, "data.turn_tags=0.8")
    assert len(context.dataset.items) == 5
    assert tags_of(context.dataset) == dict(list(true.items())[:5])


def test_the_setting_is_read_so_that_a_change_makes_the_data_anew(world: Path, tmp_path: Path) -> None:
    true = tags_of(open_dataset(world, split="train"))
    table = write_tags(tmp_path / "tags.csv", world, true)
    context = data_step(world, tmp_path / "run", table, "data.turn_tags=0.8")
    settings = replace(context.recipe, data=replace(context.recipe.data, turn_tags=0.0))
    status = {step.step: step for step in pipeline.status(Context(settings, context.source, context.out))}
    assert status["data"].state == "outdated"
    assert np.any(["turn_tags" in why for why in status["data"].why])
