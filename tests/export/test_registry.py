"""Exporters of other packages: what they are, and their options on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from semples.core.errors import UserError
from semples.export import EXPORTERS, about, export_labels, exporter, parse_options
from tests import tiny
from tests.export.test_predictions import predicted as predicted
from tests.export.worlds import blobs, make_source

OTHER = '''
from dataclasses import dataclass
import json
from semples.core.schema import setting
from semples.export import Exporter

@dataclass(frozen=True)
class Options:
    dots: int = setting(3, "how many dots", low=1, high=9)
    word: str = setting("x", "a word")

class Dots(Exporter):
    """Dots: a format of another package."""
    settings = Options

    def export(self, source, folder, options):
        names = [item.id for item in source.dataset.items]
        (folder / "dots.json").write_text(json.dumps([options.dots, options.word, names]))
        return ("dots made",)

class Nothing:
    pass
'''


@pytest.mark.parametrize("name", EXPORTERS.names())
def test_every_exporter_has_described_settings(name: str) -> None:
    settings = exporter(name).settings
    assert is_dataclass(settings)
    settings()  # everything has a default
    for field in fields(settings):
        assert field.metadata["doc"]
    assert 10 < len(about(name)) < 120


def test_every_option_is_in_the_help() -> None:
    text = " ".join(tiny.invoke("export", "--help").out.split())
    for name in EXPORTERS.names():
        assert name in text
        for field in fields(exporter(name).settings):
            assert f"--{field.name.replace('_', '-')}" in text


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of somebody else, and an entry point for it."""
    (tmp_path / "lib" / "other_dots-1.dist-info").mkdir(parents=True)
    (tmp_path / "lib" / "other_dots.py").write_text(OTHER, encoding="utf-8")
    (tmp_path / "lib" / "other_dots-1.dist-info" / "METADATA").write_text(
        "Name: other-dots\nVersion: 1\n", encoding="utf-8"
    )
    (tmp_path / "lib" / "other_dots-1.dist-info" / "entry_points.txt").write_text(
        "[semples.exporters]\ndots = other_dots:Dots\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    yield tmp_path / "lib"
    sys.modules.pop("other_dots", None)


@pytest.mark.parametrize("name", ["dots", "other_dots:Dots"])
def test_an_exporter_of_another_package(name: str, other: Path, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    done = export_labels(name, source, tmp_path / "out", dots=5)
    assert done.remarks == ("dots made",)
    assert json.loads((tmp_path / "out" / "dots.json").read_text(encoding="utf-8")) == [5, "x", ["a"]]
    with pytest.raises(UserError, match="dots: 10 is out of range"):
        export_labels(name, source, tmp_path / "more", dots=10)
    with pytest.raises(UserError, match="it has dots, word"):
        export_labels(name, source, tmp_path / "more", tolerance=1)
    assert not (tmp_path / "more").exists()


def test_its_options_on_the_command_line(other: Path, predicted: Path, tmp_path: Path) -> None:
    place = [predicted / "out", "--out"]
    tiny.invoke("export", "dots", *place, tmp_path / "1", "--option", "dots=7", "--option", "word=a=b")
    assert json.loads((tmp_path / "1" / "dots.json").read_text(encoding="utf-8"))[:2] == [7, "a=b"]
    assert "--option dots" in tiny.refused("export", "voc", *place, tmp_path / "2", "--option", "dots")
    assert "no option dots" in tiny.refused("export", "voc", *place, tmp_path / "2", "--option", "dots=1")
    assert "did you mean voc" in tiny.refused("export", "vocc", *place, tmp_path / "2")
    tiny.invoke("export", "coco", *place, tmp_path / "3", "--option", "min-area=99999", "--shapes", "polygons")
    assert json.loads((tmp_path / "3" / "instances.json").read_text(encoding="utf-8"))["annotations"] == []


def test_what_is_no_exporter_is_refused(other: Path) -> None:
    with pytest.raises(UserError, match="other_dots:Nothing"):
        exporter("other_dots:Nothing")
    with pytest.raises(UserError, match="cannot be imported"):
        exporter("no_such_module:X")


def test_options_are_read_as_yaml() -> None:
    assert parse_options(["min-area=3", "shapes=none", "prefix=", "a=1.5", "b={"]) == {
        "min_area": 3, "shapes": "none", "prefix": "", "a": 1.5, "b": "{"
    }  # fmt: skip
