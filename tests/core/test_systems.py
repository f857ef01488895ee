"""The ways of Windows and macOS, as far as they can be had on another system: fake locks, refusals, names."""

from __future__ import annotations

import errno
import os
import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from semples.core import lock, systems
from semples.core.errors import UserError
from semples.core.files import append_to, write_text
from semples.data.fetch.archives import member_path
from semples.data.names import unique_ids
from semples.networks.weights import local_source, source_digest
from semples.segmenter.base import kind_of


class Bytes(ModuleType):
    """Locks of bytes as `msvcrt` gives them: each byte for one open file, whoever opened it."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: dict[int, set[int]] = {}

    def locking(self, handle: int, mode: int, count: int) -> None:
        assert mode == self.LK_NBLCK
        start = os.lseek(handle, 0, os.SEEK_CUR)
        wanted = set(range(start, start + count))
        if any(wanted & taken for taken in self.held.values()):
            raise OSError(errno.EACCES, "Permission denied")
        self.held.setdefault(handle, set()).update(wanted)


@pytest.fixture
def handles(tmp_path: Path) -> Iterator[list[int]]:
    opened = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(3)]
    yield opened
    for handle in opened:
        os.close(handle)


def test_locks_of_bytes_are_for_one_writer_or_many_readers(handles: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    fake, (one, two, three) = Bytes(), handles
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    os.write(one, b"a note")
    assert systems._lock_bytes(one, shared=True)
    assert systems._lock_bytes(two, shared=True)
    assert not systems._lock_bytes(three, shared=False)
    assert os.lseek(one, 0, os.SEEK_CUR) == 0
    fake.held.clear()
    assert systems._lock_bytes(three, shared=False)
    assert not systems._lock_bytes(one, shared=True)
    assert not systems._lock_bytes(two, shared=False)
    assert min(place for places in fake.held.values() for place in places) > 4096  # others can read the note


def test_a_lock_that_goes_does_so_after_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows removes no open file."""
    monkeypatch.setattr(lock, "WINDOWS", True)
    with lock.exclusive(tmp_path, what="a download", keep=False):
        assert (tmp_path / lock.LOCK).is_file()
    assert not (tmp_path / lock.LOCK).exists()
    with pytest.raises(lock.Busy), lock.exclusive(tmp_path, what="one", keep=False):
        with lock.exclusive(tmp_path, what="two", keep=False):
            pass


def test_what_another_program_reads_is_replaced_a_little_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, real = [13, 13], os.replace

    def busy(source: Path, target: Path) -> None:
        if refusals:
            raise PermissionError(refusals.pop(), "in use", str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(UserError, match="no permission"):
        write_text(tmp_path / "a.txt", "one")
    monkeypatch.setattr(systems, "WINDOWS", True)
    refusals[:] = [13, 13]
    write_text(tmp_path / "a.txt", "two")
    assert (tmp_path / "a.txt").read_bytes() == b"two"
    monkeypatch.setattr(systems, "PATIENCE", 0.0)
    refusals[:] = [13, 13, 13]
    with pytest.raises(UserError, match="no permission"):
        write_text(tmp_path / "a.txt", "three")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_other_processes_are_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    assert systems._told_start(os.getpid()) == systems._told_start(os.getpid())
    assert 0 < time.time() - systems._told_start(os.getpid()) / 100 < 24 * 3600
    assert systems._told_start(4_194_305) == 0
    assert systems.start_of(os.getpid()) > 0
    monkeypatch.setattr(systems, "WINDOWS", True)
    assert systems.is_alive(os.getpid())
    assert not systems.is_alive(4_194_305)


def test_a_system_without_a_load_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert systems.load_average() == 0


@pytest.mark.parametrize(
    "name",
    ["CON", "a/nul.jpg", "Aux .png", "lpt1.tar.gz", "ab:c", "what?.jpg", "a/b./c", "tail ", 'x"y', "a\x01b", "com²"],
)
def test_names_that_windows_cannot_keep(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert systems.windows_objection(name)
    monkeypatch.setattr("semples.data.fetch.archives.WINDOWS", True)
    with pytest.raises(UserError, match=r"x\.zip: refused, Windows can keep no"):
        member_path(Path("x.zip"), name)


@pytest.mark.parametrize(
    "name", ["CONtrast.jpg", "a/b.c/d.jpg", "lpt.jpg", "com10.jpg", "日本/é.png", ".hidden", "../a"]
)
def test_names_that_windows_keeps(name: str) -> None:
    assert systems.windows_objection(name) is None


@pytest.mark.parametrize("path", ["C:/vit", "d:\\models\\vit", "C:/a/b.safetensors"])
def test_a_drive_is_no_family_of_weights_and_no_repository(path: str) -> None:
    assert systems.family_of(path) == ("", "", path)
    assert systems.family_of(f"vit:{path}") == ("vit", ":", path)
    with pytest.raises(UserError, match="no such file or folder"):
        local_source(path)
    with pytest.raises(UserError, match=r"no such file or folder"):
        source_digest(f"vit:{path}")
    assert kind_of(path) == ("transformers", path)
    assert kind_of(f"vit:{path}") == ("vit", path)


def test_ids_do_not_share_a_file_on_a_disk_blind_to_capitals() -> None:
    assert unique_ids(["IMG.jpg", "img.png", "a.jpg"]) == {"IMG.jpg": "IMG.jpg", "img.png": "img.png", "a.jpg": "a"}
    assert unique_ids(["A.jpg", "a.jpg"]) == {"A.jpg": "A", "a.jpg": "a"}  # only where the disk tells them apart
    three = unique_ids(["A.jpg", "a.jpg", "a.png"])
    assert sorted(three.values()) == ["A.jpg", "a.jpg", "a.png"]


def test_lines_end_alike_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "linesep", "\r\n")
    with append_to(tmp_path / "events.jsonl") as file:
        file.write("{}\n")
    assert (tmp_path / "events.jsonl").read_bytes() == b"{}\n"


def test_what_a_pool_does_can_be_sent_to_a_new_process(tmp_path: Path) -> None:
    from functools import partial

    from semples.data.dataset import open_dataset
    from semples.recipe import load_recipe
    from semples.run.label_maps import FreshRegions
    from semples.run.pool import _can_be_sent
    from semples.run.steps.regions import _write
    from tests import tiny

    dataset = open_dataset(tiny.draw_photos(tmp_path / "photos"))
    settings = load_recipe("folder", ["regions.proposals=felzenszwalb"]).regions
    regions = FreshRegions(dataset, settings, lambda: pytest.fail("no device is needed"))
    assert regions(dataset.items[0])
    sent = pickle.loads(pickle.dumps(partial(_write, tmp_path, regions)))
    sent(dataset.items[0])
    assert list(tmp_path.glob("*.npz")) or list(tmp_path.glob("p00*"))
    assert not _can_be_sent(lambda: dataset)
