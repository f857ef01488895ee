"""The examples of docs/files.md: files written as they stand there, photos drawn, tags compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from semples.data import check, open_dataset
from semples.data.importers import IMPORTERS, import_annotations
from tests.data.importers.importing import photo, write

PAGE = (Path(__file__).parents[2] / "docs/files.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\| photo \| tags \|\n\|---\|---\|\n((?:\|.*\|\n?)+)", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    heading: str
    files: dict[str, str]
    tags: dict[str, set[str]]


def examples() -> list[Example]:
    """Each table of the page with the files before it."""
    listed, start = [], 0
    for table in TABLE.finditer(PAGE):
        heading = re.findall(r"^#+ (.*)$", PAGE[: table.start()], re.MULTILINE)[-1]
        files = dict(FILE.findall(PAGE[start : table.start()]))
        rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in table[1].splitlines()]
        tags = {row[0]: {tag.strip() for tag in row[1].split(";") if tag.strip()} for row in rows}
        listed.append(Example(heading, files, tags))
        start = table.end()
    return listed


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example.heading}-{next(iter(example.tags))}")
def test_an_example_gives_the_tags_of_its_table(tmp_path: Path, example: Example) -> None:
    root = tmp_path / "in"
    for number, name in enumerate(example.tags):
        photo(root / name, (80, 64), number)
    for name, text in example.files.items():
        write(root / name, text)
    assert example.files
    result = import_annotations(root, tmp_path / "out")
    if example.heading in IMPORTERS.names():
        assert result.format == example.heading
    folders = [tmp_path / "out"]
    if any("/" not in name and name.startswith("tags.") for name in example.files):
        folders.append(root)  # read by `semples data check` as it is
    for folder in folders:
        dataset = open_dataset(folder)
        by_path = {item.photo.relative_to(folder).as_posix().removeprefix("images/"): item for item in dataset.items}
        names = dataset.classes.names
        shown = {
            name: {names[tag] for tag in item.tags} | {f"{names[tag]}?" for tag in item.open}
            for name, item in by_path.items()
        }
        assert shown == {name.removeprefix("images/"): tags for name, tags in example.tags.items()}
        assert dataset.problems == ()
        assert check(dataset).unreadable == ()
    assert all("no mask" in problem.what for problem in result.problems)  # a box beside an outline


def test_every_format_has_a_section() -> None:
    assert set(IMPORTERS.names()) == set(re.findall(r"^### ([a-z-]+)$", PAGE, re.MULTILINE))
