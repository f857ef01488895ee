"""What every importer in the registry must do. Examples of every format: docs/files.md, run by tests/data."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from semples.commands.data import import_
from semples.core.errors import UserError
from semples.data import open_dataset
from semples.data.importers import IMPORTERS, import_annotations
from semples.data.importers.annotations import Annotations, Entry, Thing
from semples.data.importers.base import Importer, Source
from tests.data.importers.importing import photo, tags, write


class Lines(Importer):
    """A format of another package: `photo = tag, tag` on each line of a .tagged file."""

    about = "lines of photo = tags"

    def recognises(self, source: Source) -> bool:
        return bool(source.with_suffix(".tagged"))

    def read(self, source: Source) -> Annotations:
        entries = []
        for path in source.with_suffix(".tagged"):
            for line in path.read_text(encoding="utf-8").splitlines():
                name, _, words = line.partition("=")
                things = tuple(Thing(word.strip(), whole=True) for word in words.split(",") if word.strip())
                entries.append(Entry(source.told(path), name.strip(), things))
        return Annotations((), tuple(entries))


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_an_importer_says_what_it_reads(name: str) -> None:
    importer = IMPORTERS.load(name)
    assert issubclass(importer, Importer)
    assert importer.about
    assert "\n" not in importer.about
    assert IMPORTERS.about(name).endswith(".")


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_an_importer_recognises_nothing_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    assert not IMPORTERS.load(name)().recognises(Source(tmp_path, tmp_path))
    with pytest.raises(UserError, match="no annotations of the format"):
        import_annotations(tmp_path, tmp_path / "out", format=name)


def test_the_help_names_every_format() -> None:
    said = inspect.getdoc(import_) or ""
    listed = said.partition("format_\n")[2].partition("or one of another package")[0]
    assert {word.strip() for word in listed.replace("\n", " ").split(",") if word.strip()} == set(IMPORTERS)


def test_a_format_of_another_package_is_one_class(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.jpg")
    write(tmp_path / "in/x.tagged", "a.jpg = cat, dog\n")
    chosen = f"{__name__}:Lines"
    result = import_annotations(tmp_path / "in", tmp_path / "out", format=chosen)
    assert result.format == chosen
    assert tags(tmp_path / "out") == {"images/a": {"cat", "dog"}}
    assert open_dataset(tmp_path / "out").classes.names == ("cat", "dog")
    with pytest.raises(UserError, match="not a semples"):
        import_annotations(tmp_path / "in", tmp_path / "o", format="pathlib:Path")
