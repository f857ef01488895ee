"""Folders of steps that were cut while they were being prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.core.files import write_json
from semples.run import folder as run_folder
from semples.run.folder import MANIFEST, STARTED, prepare


def filled(folder: Path, *, fingerprint: str = "f", manifest: bool = False) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "result").write_text("x")
    (folder / "deep" / ".p01.abcd.tmp.npz").write_text("half")
    write_json(folder / STARTED, {"fingerprint": fingerprint})
    if manifest:
        write_json(folder / MANIFEST, {"fingerprint": fingerprint, "seconds": 1, "result": {}})
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_interrupted_step_is_resumed_and_leftovers_go(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a")
    assert prepare(folder, "f", keep=True)
    assert names_in(folder) == ["deep/result", STARTED]


@pytest.mark.parametrize(
    ("fingerprint", "keep", "manifest"), [("other", True, False), ("f", False, False), ("f", True, True)]
)
def test_anything_else_of_ours_is_emptied(fingerprint: str, keep: bool, manifest: bool, tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", manifest=manifest)
    assert not prepare(folder, fingerprint, keep=keep)
    assert names_in(folder) == [STARTED]
    assert json.loads((folder / STARTED).read_text()) == {"fingerprint": fingerprint}


def test_emptying_may_be_cut_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left is neither taken for a finished step, nor for one to resume, nor for somebody else's."""

    class Cut(BaseException):
        pass

    calls = ("write_json", "shutil.rmtree")
    for number in range(4):
        folder, count = filled(tmp_path / f"{number}", manifest=True), [0]
        with monkeypatch.context() as patch:
            for call in calls:
                owner: Any = run_folder.shutil if "." in call else run_folder  # type: ignore[attr-defined]
                name = call.split(".")[-1]
                original = getattr(owner, name)

                def cut(
                    *arguments: Any,
                    original: Any = original,
                    number: int = number,
                    count: list[int] = count,
                    **more: Any,
                ) -> Any:
                    if count[0] == number:
                        raise Cut
                    count[0] += 1
                    return original(*arguments, **more)

                patch.setattr(owner, name, cut)
            try:
                prepare(folder, "new", keep=True)
            except Cut:
                assert (folder / MANIFEST).is_file() == (number == 0)
        assert not prepare(folder, "new", keep=True) or names_in(folder) == [STARTED]
        assert names_in(folder) == [STARTED]


def test_a_first_write_that_was_cut_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".started.k2x.tmp.json").touch()
    assert not prepare(tmp_path / "a", "f", keep=True)
    assert names_in(tmp_path / "a") == [STARTED]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not empty and not made by this program"):
        prepare(tmp_path / "a", "f", keep=True)
    assert names_in(tmp_path / "a") == ["thesis.tex"]
