"""Registries: shipped names, entry points of other packages, `module:Name`, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from semples.core import registry as module
from semples.core.errors import UserError
from semples.core.registry import Registry

SHIPPED = Registry[type](
    "error", "semples.test_errors", {"plain": "builtins:Exception", "user": "semples.core.errors:UserError"}, Exception
)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("value", "builtins:ValueError", "semples.test_errors"),
        EntryPoint("lost", "no_such_package_here:Thing", "semples.test_errors"),
        EntryPoint("wrong", "builtins:dict", "semples.test_errors"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == "semples.test_errors" else [])


def test_names_are_the_shipped_then_the_foreign(foreign: None) -> None:
    assert SHIPPED.names() == ("plain", "user", "lost", "value", "wrong")
    assert "value" in SHIPPED
    assert "nobody" not in SHIPPED


def test_things_are_found_by_every_way(foreign: None) -> None:
    assert SHIPPED.load("user") is UserError
    assert SHIPPED.load("value") is ValueError
    assert SHIPPED.load("builtins:KeyError") is KeyError
    assert SHIPPED.where("user") == "semples"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("usr", "did you mean user"),
        ("lost", "cannot be imported"),
        ("wrong", "not a builtins.Exception"),
        ("builtins:dict", "not a builtins.Exception"),
        ("builtins:NoSuchThing", "cannot be imported"),
        ("no_such_package_here:Thing", "cannot be imported"),
    ],
)
def test_what_cannot_be_had_is_one_line(foreign: None, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        SHIPPED.load(name)
    assert "\n" not in str(caught.value)


def test_a_stored_name_imports_nothing() -> None:
    with pytest.raises(UserError, match="asks for this module"):
        SHIPPED.load("antigravity:Thing", stored=True)
    assert "antigravity" not in sys.modules
    assert SHIPPED.load("builtins:KeyError", stored=True) is KeyError


def test_the_current_folder_brings_no_code(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()\nclass Thing(Exception): ...\n", encoding="utf-8")
    program = (
        "from semples.core.registry import Registry; r = Registry('error', 'g', {}, Exception)\n"
        "try: r.load('evil:Thing')\n"
        "except Exception as e: print(e)\n"
        "else: print('loaded')"
    )
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "current folder only" in said
    assert not (tmp_path / "ran").exists()
    import os

    wished = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    said = subprocess.run(command, cwd=tmp_path, env=wished, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "loaded"


def test_a_recipe_file_imports_nothing_that_nobody_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semples.recipe import load_recipe

    package = tmp_path / "site" / "trusted_here"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from semples.settings.generators import WeakTrSettings\n"
        "from semples.generators.weaktr import WeakTr\n"
        "class Mine(WeakTr):\n    Settings = WeakTrSettings\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(package.parent))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("generator: {kind: 'trusted_here:Mine'}\n", encoding="utf-8")
    with pytest.raises(UserError, match="a file asks for this module; set SEMPLES_TRUST"):
        load_recipe(recipe)
    assert "trusted_here" not in sys.modules
    monkeypatch.setenv("SEMPLES_TRUST", "other, trusted_here")
    assert load_recipe(recipe).generator.kind == "trusted_here:Mine"
    assert load_recipe("voc", ["generator.kind=trusted_here:Mine"]).generator.kind == "trusted_here:Mine"
