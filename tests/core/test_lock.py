"""One writer in a folder, who is named; a lock that is no file is refused and what it stands for left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from semples.core.errors import UserError
from semples.core.lock import LOCK, Busy, exclusive, shared


def test_one_writer_and_many_readers(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with exclusive(folder, what="another run"):
        with pytest.raises(Busy, match=rf"another run \(process {os.getpid()}"), exclusive(folder, what="a second"):
            pass
        with pytest.raises(Busy, match="wait for it"), shared(folder):
            pass
    with shared(folder), shared(folder):
        with pytest.raises(Busy), exclusive(folder, what="another run"):
            pass
    with exclusive(folder, what="another run"):
        pass
    assert (folder / LOCK).read_bytes() == b""


def test_a_lock_that_goes_with_its_holder(tmp_path: Path) -> None:
    with exclusive(tmp_path, what="another download", keep=False):
        assert (tmp_path / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_what_is_no_lock_is_refused(tmp_path: Path, kind: str) -> None:
    precious, lock = tmp_path / "precious", tmp_path / "run" / LOCK
    precious.write_text("needed", encoding="utf-8")
    lock.parent.mkdir()
    match kind:
        case "link":
            lock.symlink_to(precious)
        case "dangling":
            lock.symlink_to(tmp_path / "none")
        case "fifo":
            os.mkfifo(lock)
        case "folder":
            lock.mkdir()
    with pytest.raises(UserError, match="not a lock of this program"), exclusive(lock.parent, what="another run"):
        pass
    with pytest.raises(UserError, match="not a lock of this program"), shared(lock.parent):
        pass
    assert precious.read_text(encoding="utf-8") == "needed"
    assert not (tmp_path / "none").exists()


def test_a_killed_writer_is_not_named(tmp_path: Path) -> None:
    """Its note is still there, while somebody else reads."""
    with shared(tmp_path):
        (tmp_path / LOCK).write_text('{"what": "an old run", "process": 4194305, "command": "x"}', encoding="utf-8")
        with pytest.raises(Busy, match="another run is writing here"), exclusive(tmp_path, what="another run"):
            pass


def test_a_damaged_note_hides_only_the_name(tmp_path: Path) -> None:
    with exclusive(tmp_path, what="another run"):
        for note in ("", "[", '{"what": 1}', "[" * 10_000):
            (tmp_path / LOCK).write_text(note, encoding="utf-8")
            with pytest.raises(Busy, match="a run is writing here"), exclusive(tmp_path, what="a run"):
                pass
