"""Folders of steps: what was begun, cut, finished, damaged or made by somebody else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.core.files import write_json
from semples.run import folder as run_folder
from semples.run import records
from semples.run.outputs import OUTPUTS, damaged
from semples.run.records import (
    MANIFEST,
    STARTED,
    empty,
    finish,
    heal_manifest,
    note_reads,
    read_manifest,
    reopen,
    started_reads,
    sweep,
)

READS = {"setting:a.b": 1}
DESCRIBED = {"step": "a", "version": 1, "fingerprint": "f", "reads": READS, "seconds": 1}


def filled(folder: Path, *, finished: bool = False) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "result").write_text("x", encoding="utf-8")
    note_reads(folder, READS)
    if finished:
        finish(folder, DESCRIBED, {"figure": 1.5, "none": float("nan")})
    (folder / "deep" / ".p01.abcd.tmp.npz").write_text("half", encoding="utf-8")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_an_interrupted_step_has_read_is_known_and_leftovers_go(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a")
    assert started_reads(folder) == READS
    assert read_manifest(folder) is None
    sweep(folder)
    assert names_in(folder) == ["deep/result", STARTED]


def test_emptying_may_be_cut_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left is neither taken for a finished step, nor for one to resume, nor for somebody else's."""

    class Cut(BaseException):
        pass

    for number in range(4):
        folder, count = filled(tmp_path / f"{number}", finished=True), [0]
        with monkeypatch.context() as patch:
            for owner, name in ((records, "write_json"), (shutil, "rmtree")):
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
                empty(folder)
            except Cut:
                assert (folder / MANIFEST).is_file() == (number == 0)
        if number:
            assert started_reads(folder) is None
            assert read_manifest(folder) is None
        empty(folder)
        assert names_in(folder) == [STARTED]


def test_a_first_write_that_was_cut_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".started.k2x.tmp.json").touch()
    assert started_reads(tmp_path / "a") is None


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="not empty and not made by this program"):
        started_reads(tmp_path / "a")


def test_the_manifest_says_what_was_read_and_made(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", finished=True)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["reads"] == READS
    assert manifest["result"] == {"figure": 1.5, "none": None}
    assert manifest["outputs"]["files"] == 1
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
    assert (folder / OUTPUTS).read_text(encoding="utf-8") == f"{digest}  1  deep/result\n"


@pytest.mark.parametrize("how", ["emptied", "halved", "deleted", "flipped"])
@pytest.mark.parametrize("name", [MANIFEST, STARTED, OUTPUTS])
def test_a_damaged_record_is_read_from_what_is_left_and_healed(name: str, how: str, tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", finished=True)
    sweep(folder)
    whole = {path: (folder / path).read_bytes() for path in names_in(folder)}
    damage(folder / name, how)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert damaged(folder, manifest["outputs"], content=True) == []
    heal_manifest(folder, manifest)
    assert {path: (folder / path).read_bytes() for path in names_in(folder)} == whole


@pytest.mark.parametrize("how", ["emptied", "halved", "deleted", "flipped"])
def test_damaged_outputs_are_named(how: str, tmp_path: Path) -> None:
    folder = filled(tmp_path / "a")
    (folder / "other").write_text("abcd", encoding="utf-8")
    finish(folder, DESCRIBED, {})
    manifest = read_manifest(folder)
    assert manifest is not None
    damage(folder / "other", how)
    assert damaged(folder, manifest["outputs"], content=True) == [folder / "other"]
    assert damaged(folder, manifest["outputs"], content=False) == ([] if how == "flipped" else [folder / "other"])
    (folder / OUTPUTS).unlink()
    assert damaged(folder, manifest["outputs"], content=True) is None  # nobody can tell which it is
    reopen(folder, manifest, [folder / "other"])
    assert started_reads(folder) == READS
    assert read_manifest(folder) is None
    assert "other" not in names_in(folder)


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes(b"" if how == "emptied" else data[: len(data) // 2])


def test_folders_of_an_earlier_version_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_json(folder / MANIFEST, {"fingerprint": "f", "seconds": 1, "result": {}, "semples": "0.1.0"})
    with pytest.raises(UserError, match=r"made by semples 0\.1\.0, whose runs this version"):
        read_manifest(folder)
    write_json(tmp_path / "run.json", {"recipe": {}, "data": "x", "tags": None, "classes": None})
    with pytest.raises(UserError, match=r"made by semples 0\.1\.0"):
        run_folder.open_run(tmp_path)
    assert json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["semples"] == "0.1.0"
