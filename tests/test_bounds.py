"""Every setting has bounds, and what is out of them is one short line."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.core.plain import plain
from semples.core.schema import describe, to_yaml
from semples.recipe import Recipe, load_recipe
from tests.robust.texts import RECIPES, SETTINGS


def entries(settings: Any, prefix: str = "") -> list[tuple[str, Any, dict[str, Any]]]:
    listed = []
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        more = entries(value, f"{prefix}{entry.name}.") if is_dataclass(value) else []
        listed += more or [(prefix + entry.name, value, dict(entry.metadata))]
    return listed


NUMBERS = [(key, value, about) for key, value, about in entries(Recipe()) if not isinstance(value, str | bool)]


@pytest.mark.parametrize(("key", "value", "about"), NUMBERS, ids=[entry[0] for entry in NUMBERS])
def test_every_number_has_two_ends(key: str, value: Any, about: dict[str, Any]) -> None:
    assert about["low"] is not None
    assert about["high"] is not None
    beyond = about["high"] * 2 + 1
    given = [beyond] * len(value) if isinstance(value, tuple) else beyond
    with pytest.raises(UserError, match="out of range"):
        load_recipe("voc", [f"{key}={given}"])


@pytest.mark.parametrize("name", SETTINGS)
def test_absurd_settings(name: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("voc", [SETTINGS[name]])
    assert len(str(caught.value)) < 600
    assert "\n" not in plain(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_absurd_recipes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(RECIPES[name], encoding="utf-8", errors="surrogatepass")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert len(str(caught.value)) < 600


def test_a_recipe_that_is_shown_acts_on_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text('about: "a\\u202eb größe"\n', encoding="utf-8")
    recipe = load_recipe(path)
    text = to_yaml(recipe)
    assert "\u202e" not in text
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path) == recipe
    assert "größe" in to_yaml(load_recipe("voc", ["about=größe"]))
    assert {row[0] for row in describe(recipe)} >= {entry[0] for entry in NUMBERS}
