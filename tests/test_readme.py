"""Every command in the README parses, and names only recipes, settings and files that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from semples.cli import app
from semples.commands.options import RunOptions
from semples.recipe import load_recipe, recipe_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    inline = re.findall(r"`(semples [^`]+)`", README)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    lines_told = [*lines, *(line for line in inline if len(line.split()) > 2)]
    return [line for line in lines_told if "semples " in line and not line.startswith("pip")]


@pytest.mark.parametrize("line", commands())
def test_command(line: str) -> None:
    tokens = shlex.split(line[line.index("semples ") :])[1:]
    function, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    values = bound.arguments
    if function.__name__ == "run":
        assert values["recipe"] in recipe_names()
    shared = values.get("run") if isinstance(values.get("run"), RunOptions) else None
    settings = values.get("settings") or (shared.settings if shared else [])
    if settings:
        load_recipe(values.get("recipe") or (shared and shared.recipe) or "voc", settings)


def test_commands_are_found() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_linked_files_exist(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
