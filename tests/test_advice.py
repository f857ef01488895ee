"""Every command that a message of this package advises is one that the command line takes."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from semples.cli import app
from semples.run.advice import go_on, that_makes
from semples.run.photos import Source
from semples.run.pipeline import known_steps
from tests import tiny

SOURCE = tiny.ROOT / "src" / "semples"
# What an f-string puts in, where any word will not do.
STAND_INS = {"later[0]": "matching", "recipe": "folder", "words": "folder --data DIR --out RUN"}
COMMAND = re.compile(r"`semples ([^`]+)`|(?<![\w`'./-])semples ([a-z]+(?: [^\s;,()]+)*)")
END = re.compile(r" (?:or|and|where|first|again|reads|has|lists|offers) .*$|[.:]$")


def texts(path: Path) -> Iterator[str]:
    """Every text of a module that is no docstring; a stand-in for what an f-string puts in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value)
                if isinstance(part, ast.Constant)
                else STAND_INS.get(ast.unparse(part.value), "STAND_IN")  # type: ignore[attr-defined]
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | docs:
            yield node.value.removeprefix("semples ")  # the name of a program, not a sentence that advises it


def advised() -> dict[str, str]:
    """Every advised command, and the module that advises it."""
    commands = {name for name in app if not name.startswith("-")}
    lines = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for text in texts(path):
            for whole, loose in COMMAND.findall(text):
                line = whole or END.sub("", loose)
                if line.split()[0] in commands:
                    lines[line] = path.relative_to(SOURCE).as_posix()
    return lines


ADVISED = advised()


def parses(line: str) -> None:
    app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)


def test_there_is_advice() -> None:
    assert len(ADVISED) > 25


@pytest.mark.parametrize("line", ADVISED)
def test_advice_is_a_command(line: str) -> None:
    try:
        parses(line)
    except CycloptsError as error:
        raise AssertionError(f"{ADVISED[line]} advises `semples {line}`: {error}") from None


def test_a_wrong_command_is_seen() -> None:
    for line in ("run", "run folder --data DIR", "label RUN --treshold 0.4", "train warm-up --out RUN"):
        with pytest.raises(CycloptsError):
            parses(line)


def test_what_makes_a_step_is_a_command() -> None:
    source = Source(Path("my photos"), tags=Path("tags.csv"), classes=Path("classes.txt"))
    for step in known_steps():
        parses(that_makes(step, Path("my run"), source).removeprefix("semples "))
    line = go_on(Path("my run"), source)
    assert shlex.split(line)[2:] == [
        "my run/recipe.yaml", "--data", "my photos", "--out", "my run", "--tags", "tags.csv", "--classes",
        "classes.txt",
    ]  # fmt: skip


PAGES = sorted((tiny.ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_commands_of_the_pages_parse(page: Path) -> None:
    """Whole command lines: indented, or in a block of code."""
    for line in page.read_text(encoding="utf-8").splitlines():
        whole = line.strip().removeprefix("$ ")
        if whole.startswith("semples ") and line.startswith(("    ", "semples ")):
            command = whole.removeprefix("semples ").partition("#")[0].rstrip("\\ ")
            if "..." not in command and "[" not in command and not whole.endswith("\\"):
                parses(command)
