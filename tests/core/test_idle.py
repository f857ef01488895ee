"""A setting that another one makes count for nothing is refused in one line, where somebody has set it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from semples.core.errors import UserError
from semples.core.schema import _convert, describe, to_yaml
from semples.recipe import Recipe, load_recipe, recipe_names
from semples.settings.kinds import REGISTRIES
from tests import tiny

REFUSED = {
    "warmup.schedule=late-cosine warmup.warmup_epochs=2": "warmup.warmup_epochs",
    "warmup.schedule=late-cosine warmup.warmup_lr=1e-3": "warmup.warmup_lr",
    "matching.final_lr=1e-5": "matching.final_lr",
    "warmup.steps=100 warmup.warmup_epochs=2": "warmup.warmup_epochs",
    "matching.steps=100 matching.schedule=cosine": "matching.schedule",
    "matching.steps=100 matching.auto_steps=50": "matching.auto_steps",
    "matching.rise=0.1": "matching.rise",
    "segmenter.auto_iterations=50": "segmenter.auto_iterations",
    "segmenter.schedule=cosine segmenter.power=2": "segmenter.power",
    "segmenter.noise.clip_start=2": "segmenter.noise.clip_start",
    "matching.augment.colour_jitter=0.3": "matching.augment.colour_jitter",
    "matching.augment.randaugment_ops=0 matching.augment.randaugment_std=1": "matching.augment.randaugment_std",
    "cams.affinity.box=0.2": "cams.affinity.box",
    "labels.select=fixed labels.per_class=true": "labels.per_class",
    "labels.class_thresholds=[0.2,0.3]": "labels.class_thresholds",
    "generator.kind=cnn generator.sharpness=2": "generator.sharpness",
    "judge.kind=siglip judge.temperature=own judge.neutral_likeness=0.3": "judge.neutral_likeness",
}
TAKEN = (
    "warmup.schedule=late-cosine",  # its own floor and rise are defaults, which nobody has set
    "matching.schedule=cosine matching.final_lr=1e-5 matching.warmup_epochs=2",
    "segmenter.power=2",
    "matching.steps=100 matching.final_lr=1e-5 matching.rise=0.1",
    "matching.steps=auto matching.auto_steps=50",
    "prompting.augment.randaugment_ops=2",
    "matching.augment.randaugment_ops=0 matching.augment.colour_jitter=0.2",
    "cams.affinity.power=2 cams.affinity.box=0.2",
    "generator.kind=cnn generator.pooling=smooth-max generator.sharpness=2",
)


@pytest.mark.parametrize("words", REFUSED)
def test_what_counts_for_nothing_is_refused(words: str, tmp_path: Path) -> None:
    key = REFUSED[words]
    with pytest.raises(UserError) as caught:
        load_recipe("voc", words.split())
    line = str(caught.value)
    assert line.startswith(f"--set: {key} is set but counts only where {key.rpartition('.')[0]}.")
    assert "\n" not in line
    path = tmp_path / "mine.yaml"  # in a file, where the order is another
    path.write_text(yaml.safe_dump(_tree(words.split()[::-1])), encoding="utf-8")
    with pytest.raises(UserError, match=f"{path}: {key} is set but"):
        load_recipe(path)


@pytest.mark.parametrize("words", TAKEN)
def test_what_counts_is_taken_in_any_order(words: str) -> None:
    assert load_recipe("voc", words.split()[::-1] if "kind=" not in words else words.split())


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_recipe_says_goes_with_any_change_and_comes_back(name: str, tmp_path: Path) -> None:
    changes = ["warmup.epochs=3", "matching.steps=7", "matching.augment.randaugment_ops=2", "segmenter.iterations=9"]
    changed = load_recipe(name, changes)
    path = tmp_path / "all.yaml"
    path.write_text(to_yaml(changed), encoding="utf-8")
    assert load_recipe(path) == changed


def test_the_command_says_so_in_one_line() -> None:
    line = tiny.refused("recipes", "show", "voc", "--set", "matching.warmup_epochs=3")
    assert (
        "matching.warmup_epochs is set but counts only where matching.schedule is cosine and matching.steps is epochs"
        in line
    )


def test_conditions_name_settings_of_their_group_and_values_that_it_takes() -> None:
    groups = list(_groups(Recipe()))
    for registry in REGISTRIES.values():
        groups += [registry.settings_of(name)() for name in registry.shipped]
    seen = 0
    for group in groups:
        for entry in fields(group):
            for word in ("when", "unless"):
                for key, values in entry.metadata.get(word) or ():
                    origin = next(made for made in type(group).__mro__ if entry.name in vars(made)["__annotations__"])
                    assert all(_convert(value, get_type_hints(origin)[key]) == value for value in values)
                    seen += 1
    assert seen > 20
    rows = {row[0]: row[2] for row in describe(Recipe())}
    assert rows["warmup.final_lr"].endswith("(where schedule is not late-cosine or steps is not epochs)")
    assert rows["warmup.warmup_epochs"].endswith("(where schedule is cosine and steps is epochs)")
    assert rows["cams.affinity.rounds"].endswith("(where power is not 0)")


def _groups(settings: Any) -> Iterator[Any]:
    yield settings
    for entry in fields(settings):
        if is_dataclass(getattr(settings, entry.name)):
            yield from _groups(getattr(settings, entry.name))


def _tree(words: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        group = tree
        for part in key.split(".")[:-1]:
            group = group.setdefault(part, {})
        group[key.split(".")[-1]] = yaml.safe_load(value)
    return tree
