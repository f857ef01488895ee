"""run.json and recipe.yaml say the same, whenever the program is cut: the next run does both anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from semples.core.files import read_json
from semples.run import folder
from semples.run.folder import keep_both
from semples.run.names import RECIPE, RUN
from semples.run.records import FORMAT


class Cut(Exception):
    pass


def cut(*_: object) -> None:
    raise Cut


def described(value: object) -> dict[str, object]:
    return {"format": FORMAT, "recipe": value}


def state(out: Path) -> tuple[object, str]:
    return read_json(out / RUN), (out / RECIPE).read_text(encoding="utf-8")


@pytest.mark.parametrize("at", ["write_text", "write_json"])
@pytest.mark.parametrize("before", [True, False])
def test_cut_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, before: bool) -> None:
    if before:
        keep_both(tmp_path, described(1), "name: one\n")
    with monkeypatch.context() as patch:
        patch.setattr(folder, at, cut)
        with pytest.raises(Cut):
            keep_both(tmp_path, described(2), "name: two\n")
    assert before or not (tmp_path / RUN).exists()  # without its recipe there is no run
    keep_both(tmp_path, described(2), "name: two\n")
    assert state(tmp_path) == (described(2), "name: two\n")


def test_nothing_is_written_where_both_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_both(tmp_path, described(("a",)), "name: größe\n")
    monkeypatch.setattr(folder, "write_text", cut)
    keep_both(tmp_path, described(("a",)), "name: größe\n")


@pytest.mark.parametrize("damage", ["", "{", "[" * 100_000, "\0"])
@pytest.mark.parametrize("name", [RUN, RECIPE])
def test_damaged_files_are_written_anew(tmp_path: Path, name: str, damage: str) -> None:
    keep_both(tmp_path, described(1), "name: one\n")
    (tmp_path / name).write_text(damage, encoding="utf-8")
    keep_both(tmp_path, described(1), "name: one\n")
    assert state(tmp_path) == (described(1), "name: one\n")
