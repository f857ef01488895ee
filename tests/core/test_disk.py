"""What a disk refuses is one line that names the file, the disk and what is kept."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semples.core import files
from semples.core.disk import DiskTrouble, disk_trouble, inner_error, trouble
from semples.core.files import append_to, atomic_path, write_bytes


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    line = str(trouble(OSError(errno.ENOSPC, "x"), tmp_path / "none" / "a.png"))
    mount = tmp_path
    while not mount.is_mount():
        mount = mount.parent
    assert line.startswith(f"{tmp_path}/none/a.png: the disk is full ({mount}: ")
    assert "run the same command to go on" in line
    assert "is kept" in line
    assert "quota" in str(trouble(OSError(errno.EDQUOT, "x"), tmp_path))


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_refusal_is_one_line(code: int, tmp_path: Path) -> None:
    for error in (OSError(code, os.strerror(code)), OSError(code, os.strerror(code), os.fspath(tmp_path))):
        line = str(trouble(error))
        assert "\n" not in line
        assert ": " in line


def test_only_what_the_disk_refuses_is_turned(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match="may be failing"), disk_trouble(tmp_path):
        raise OSError(errno.EIO, "x")
    with pytest.raises(ConnectionResetError), disk_trouble(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "x")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_refused_write_leaves_the_old_file(tmp_path: Path, code: int) -> None:
    write_bytes(tmp_path / "a", b"old")

    def write() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(code, os.strerror(code))

    with pytest.raises(DiskTrouble, match=r"/a: "):
        write()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_refused_syncing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network disks tell of a full disk as late as this."""

    def fsync(handle: int) -> None:
        raise OSError(errno.EDQUOT, "x")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(DiskTrouble, match="quota"):
        write_bytes(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []


def test_another_file_s_error_is_not_told_of_this_one(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a"):
            (tmp_path / "none").read_bytes()

    with pytest.raises(FileNotFoundError):
        write()


@pytest.fixture
def small_files() -> object:
    """No file may grow beyond 4 kB, as with `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_every_library_that_writes(tmp_path: Path) -> None:
    def by_safetensors(path: Path) -> None:
        save_file({"a": torch.zeros(10_000)}, path)

    def by_numpy(path: Path) -> None:
        np.save(path, np.zeros(10_000))

    for write in (by_safetensors, by_numpy, lambda path: path.write_bytes(bytes(9999))):

        def attempt(write: object = write) -> None:
            with atomic_path(tmp_path / "a.npy") as temporary:
                write(temporary)  # type: ignore[operator]

        with pytest.raises(DiskTrouble, match=r"ulimit -f|the disk is full"):
            attempt()
        assert os.listdir(tmp_path) == []
    with pytest.raises(DiskTrouble, match="ulimit -f"), append_to(tmp_path / "log") as file:
        file.write("x" * 9999)


def test_other_libraries_errors_stay_theirs() -> None:
    assert inner_error(ValueError("(os error 28)")) is None
