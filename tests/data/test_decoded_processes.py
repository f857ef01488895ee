"""Photos that several processes keep decoded, of which some are killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from semples.core import systems, temporary
from semples.core.unnamed import Unnamed
from semples.data import decoded
from semples.data.photos import read_photo
from tests.data.kept import Counted, draw_counted, once


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return draw_counted(tmp_path / "photos")


def test_other_processes_read_and_fill_it(counted: Counted) -> None:
    """Copies of this one, and new ones that are sent it."""
    photos = once(counted)
    first, second = photos.items[:2]
    child = os.fork()
    if child == 0:
        photos.photo(first)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    sent = pickle.loads(pickle.dumps(photos))
    assert np.array_equal(sent.photo(first), read_photo(first.photo))
    sent.photo(second)
    photos.photo(second)
    assert counted.decoded == []
    assert sent.whole.decoded == [second.id]


def test_a_process_killed_while_it_writes_leaves_no_half_photo(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = once(counted)
    item = photos.items[0]

    def half(handle: int, data: memoryview, place: int) -> None:
        os.pwrite(handle, bytes(len(data) // 2), place)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(decoded, "write_at", half)
        photos.photo(item)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    for _ in range(2):
        assert np.array_equal(photos.photo(item), read_photo(item.photo))
    assert counted.decoded == [item.id]


def test_only_one_process_writes_a_photo(counted: Counted) -> None:
    """Of two that met it at once, before and after it changed, none would mix the other's pixels with its own."""
    photos = once(counted)
    assert photos.kept is not None
    item, (read, write) = photos.items[0], os.pipe()
    child = os.fork()
    if child == 0:
        assert systems.try_lock_byte(photos.kept.file.handle, decoded.LOCKS)
        os.write(write, b"1")
        time.sleep(60)
        os._exit(0)
    os.read(read, 1)
    photos.photo(item)
    photos.photo(item)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    photos.photo(item)
    photos.photo(item)
    assert counted.decoded == [item.id] * 3


KILLED = """
import os, sys
from pathlib import Path
from semples.core import unnamed
unnamed.HANDLES = Path("/none")
unnamed.Unnamed.make(Path(sys.argv[1]), size=1000)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(room)], check=False)
    assert len(list(room.iterdir())) == 1
    temporary.sweep.cache_clear()
    os.close(Unnamed.make(room, size=1000).handle)
    assert not list(room.iterdir())
