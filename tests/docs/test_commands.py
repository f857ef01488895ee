"""Every command of the README and the pages is run: here, by another test, or the reason why not is written down."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.cli import app
from tests import tiny, vision_models
from tests.docs.commands import HOW, PAGES, ROOT, RUN, Command, commands, place
from tests.segmenter import material

LISTED = commands()
HERE = [command for command in LISTED if command.how == RUN]
# In the order in which they can be given: a page may speak of what another has made.
FIRST = (
    "semples run folder --data photos --out run",
    "semples segment train run",
    "semples predict run 'new/*.jpg' --out masks",
)


def test_every_command_is_run_or_said_why_not() -> None:
    assert len(LISTED) > 90
    assert [f"{one.page}:{one.line}: {one.text}" for one in LISTED if one.how is None] == []
    assert len(HERE) > 40


def test_no_word_is_idle_and_every_test_that_is_named_is_there() -> None:
    used = {one.how for one in LISTED}
    for pattern, how in HOW:
        assert how in used, pattern
        if how != RUN and not how.startswith("no: "):
            assert (ROOT / how).is_file(), how
    assert {one.text for one in HERE} >= set(FIRST)


@pytest.mark.parametrize("command", HERE, ids=lambda one: f"{one.page}:{one.line}")
def test_it_parses(command: Command) -> None:
    app.parse_args(shlex.split(command.text)[1:], exit_on_error=False, print_error=False)


BLOCKS = [
    (page.relative_to(ROOT).as_posix(), block)
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
]
# What becomes of the blocks of Python of a page. `alone`: run as they stand; RUN: in the folder of the commands.
OF_PYTHON = {
    "README.md": RUN,
    "docs/api.md": "tests/test_api.py",
    "docs/architecture.md": "alone",
    "docs/fma-wsss.md": "tests/export/test_formats.py",
    "docs/segmenter.md": RUN,
    "docs/summary.md": "alone",
    "docs/weights.md": "no: needs a TorchScript archive, which holds a program",
}


def test_every_block_of_python_is_run_or_said_why_not() -> None:
    assert {page for page, _ in BLOCKS} == set(OF_PYTHON)


@pytest.mark.parametrize(
    ("page", "block"), [one for one in BLOCKS if OF_PYTHON[one[0]] == "alone"], ids=lambda value: value[:20]
)
def test_a_block_of_python_runs(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {"__name__": page})


def given(command: Command) -> list[str]:
    """The words of a command with the small recipe and the run of the folder in place of what stands for them."""
    names = {"RUN": "run", "runs/photos": "run", "DIR": "photos", "NEW": "new", "MASKS": "masks2", "RUN2": "run2"}
    names |= {"folder": "tiny.yaml", "folder-fast": "tiny.yaml", "FAST": "fast", "FAST/labels": "fast/labels"}
    names |= {"HOME": ".", "clipseg": "clipseg=../clipseg"}
    words = [names.get(word, word) for word in shlex.split(command.text)[1:]]
    hub = words[:3] == ["segment", "train", "--photos"] or words[:2] == ["data", "words"]  # else by the recipe folder
    return [*words, "--recipe", "tiny.yaml"] if hub else words


@pytest.mark.slow
def test_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, in a folder with photos; each page after the first three begins with what these have made."""
    begin = tmp_path / "begin"
    begin.mkdir()
    clip, segmenter = tiny.save_clip(tmp_path / "clip"), material.folder(tmp_path / "vit", "semples_vit")
    place(begin, clip, segmenter)
    vision_models.save_clipseg(tmp_path / "clipseg")
    monkeypatch.chdir(begin)
    for text in FIRST:
        tiny.invoke(*given(Command("", 0, text)))
    pages: dict[str, list[Command]] = {}
    for command in HERE:
        pages.setdefault(command.page, []).append(command)
    failed = []
    for page, listed in pages.items():
        work = tmp_path / page.replace("/", "-")
        shutil.copytree(begin, work)
        monkeypatch.chdir(work)
        for command in listed:
            words = given(command)
            if words[0] == "predict":  # what the first three have left is in the way
                shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
            result = tiny.invoke(*words, check=False)
            if result.code != 0:
                failed.append(f"{page}:{command.line}: {command.text}: {result.err.splitlines()[-1:]}")
    assert not failed, "\n".join(failed)
    monkeypatch.chdir(tmp_path / "README.md")
    (Path("new") / "beach.jpg").write_bytes(Path("new/p00.jpg").read_bytes())
    Path("new.jpg").write_bytes(Path("new/p00.jpg").read_bytes())
    for page, block in BLOCKS:
        if OF_PYTHON[page] == RUN:
            names = {'recipe="folder"': 'recipe="tiny.yaml"', '"beach"': '"p00"'}
            for told, meant in names.items():
                block = block.replace(told, meant)
            space: dict[str, Any] = {}
            exec(compile(block, page, "exec"), space)
            labels = space.get("mask", space["labels"])
            assert labels.dtype == np.uint8
            assert labels.ndim == 2
