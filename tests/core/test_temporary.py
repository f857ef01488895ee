"""Temporary files tell whose they are; those of a program that is gone are swept, no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from semples.core import temporary
from semples.core.disk import DiskTrouble
from semples.core.files import is_unfinished, write_text
from semples.core.temporary import OTHERS_SECONDS, sweep, temporary_beside, temporary_folder
from tests import tiny


def made_by_another(target: Path) -> Path:
    """What a program that has ended leaves when it is killed: its name is that process's own."""
    code = (
        "import sys; from pathlib import Path; from semples.core.temporary import temporary_beside\n"
        "print(temporary_beside(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, target], capture_output=True, text=True, check=True, env=tiny.environment()
    )
    path = Path(done.stdout.strip())
    path.touch()
    return path


def test_what_killed_programs_left_goes_and_all_else_stays(tmp_path: Path) -> None:
    dead = made_by_another(tmp_path / "a.json")
    folder = made_by_another(tmp_path / "export")
    folder.unlink()
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    in_use = temporary_beside(tmp_path / "b.json")
    in_use.touch()
    foreign = tmp_path / ".c.0badcafe-1-1.00000000.tmp.json"
    foreign.touch()
    others = [tmp_path / name for name in (".hidden", ".x.tmp", "a.tmp", ".a.1-2-3.4.tmp.json", "a.json")]
    for path in others:
        path.touch()
    sweep.cache_clear()
    write_text(tmp_path / "a.json", "x")
    assert not dead.exists()
    assert not folder.exists()
    assert in_use.exists()
    assert foreign.exists()  # of another machine: it may still be writing
    assert all(path.exists() for path in others)
    os.utime(foreign, (0, 0))
    assert OTHERS_SECONDS < 1e9
    sweep.cache_clear()
    sweep(tmp_path)
    assert not foreign.exists()


def test_a_later_process_of_the_same_number_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container every program is process 1."""
    monkeypatch.setattr(temporary, "start_of", lambda process: 7)
    path = temporary_beside(tmp_path / "x.json")
    path.touch()
    monkeypatch.setattr(temporary, "start_of", lambda process: 8)
    sweep.cache_clear()
    sweep(tmp_path)
    assert not path.exists()


def test_names(tmp_path: Path) -> None:
    for name in ("a.json", "x" * 250, "猫" * 80 + ".npz", "😀" * 60 + ".png", "a." + "s" * 200, ".hidden", "a\nb.png"):
        path = temporary_beside(tmp_path / name)
        path.touch()
        assert is_unfinished(path), name
        assert temporary._NAME.fullmatch(path.name), name
    assert temporary_beside(Path("x.npz")).suffix == ".npz"


def test_a_temporary_folder_goes_with_its_block(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path / "deep"
    assert list((tmp_path / "deep").iterdir()) == []

    def fail() -> None:
        with temporary_folder(tmp_path / "out"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    (tmp_path / "file").touch()
    with (
        pytest.raises(DiskTrouble, match="a file stands where a folder is needed"),
        temporary_folder(tmp_path / "file" / "out"),
    ):
        pass
