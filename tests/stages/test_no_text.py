"""Stages, training and selection know judges, not texts: nothing in their code says what a judge is made of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "semples"
FILES = [
    *(ROOT / "stages").glob("*.py"),
    *(ROOT / "training").glob("*.py"),
    ROOT / "run" / "steps" / "selection.py",
    ROOT / "run" / "epochs.py",
]
OTHERWISE = {"clip_norm", "clip_grad_norm_", "write_text", "read_text"}  # of gradients, of files
WORDS = {"text", "texts", "clip", "siglip", "word", "words", "token", "tokens", "tokenizer"}


def said(source: str) -> Iterator[tuple[int, str]]:
    """Line and content of all names and strings of a program but its docstrings."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield line, node.value
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield line, value


def offences(source: str) -> list[str]:
    return [
        f"{line}: {content}"
        for line, content in said(source)
        if content not in OTHERWISE and WORDS & set(re.findall("[a-z]+", re.sub("([A-Z])", r" \1", content).lower()))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_in_the_code_says_text(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8")) == []


def test_what_would_be_seen() -> None:
    assert offences('"""CLIP."""\nclip_norm = 1\n') == []
    for line in (
        "judge.encode_texts(x)",
        "from semples.judges.clip import Clip",
        "import semples.networks.clip",
        "FrozenClip",
        "f(text=1)",
        "x = 'text'",
        "def text_features(): ...",
    ):
        assert offences(line), line
