"""Every command in docs/weights.md parses, and names only recipes and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from semples.recipe import load_recipe
from tests.test_readme import test_command as command_parses

TEXT = (Path(__file__).parents[1] / "docs" / "weights.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
INLINE = [" ".join(line.split()) for line in re.findall(r"`(semples [^`]+)`", TEXT)]
COMMANDS = [line for block in BLOCKS for line in block.splitlines()] + [line for line in INLINE if "--" in line]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line: str) -> None:
    command_parses(line)


def test_settings() -> None:
    overrides = re.findall(r"--set ([a-z_.]+=[^`\s]+)", TEXT)
    assert len(overrides) >= 10
    for override in overrides:
        load_recipe("voc", [override])
