"""Temporary files and folders that tell whose they are, so that those of a killed program can be swept.

    .NAME.MACHINE-PROCESS-START.RANDOM.tmp.png

MACHINE stands for this machine (and container), PROCESS is the process's number, START the moment it began: together
they tell a program that still writes from a later one that happens to have its number.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semples.core.disk import disk_trouble, trouble
from semples.core.systems import is_alive, start_of

MARK = ".tmp"
STEM = 40  # signs of the final name that a temporary one repeats; a disk's limit is 255 bytes
SUFFIX = 16  # signs of a suffix that is kept: a longer one is none
OTHERS_SECONDS = 7 * 24 * 3600.0  # after which what another machine left is taken for dead
_NAME = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)\.[0-9a-f]{8}\.tmp(\.[^.]*)?", re.S)


def temporary_beside(target: Path) -> Path:
    """A free temporary name in the folder of `target`, with its suffix, since libraries choose a format by it."""
    process = os.getpid()
    owner = f"{machine_sign()}-{process}-{start_of(process)}"
    suffix = target.suffix if len(target.suffix) <= SUFFIX else ""
    return target.with_name(f".{target.stem[:STEM]}.{owner}.{secrets.token_hex(4)}{MARK}{suffix}")


def is_unfinished(path: Path) -> bool:
    """Whether the file is a temporary one; where nobody writes, the rest of a killed program."""
    return path.name.startswith(".") and MARK in (path.suffix, Path(path.stem).suffix) and path.is_file()


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, on the same disk; it is removed at the end, if it is still there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
    except OSError as error:
        raise trouble(error, target) from None
    folder = temporary_beside(target)
    try:
        with disk_trouble(target):
            folder.mkdir(mode=0o700)
        yield folder
    finally:
        remove(folder)


def remove(path: Path) -> None:
    """Remove a temporary file or folder, if it is there, even where a signal comes meanwhile."""
    try:
        _remove(path)
    except BaseException:
        _remove(path)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@functools.lru_cache(maxsize=4096)
def sweep(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose program is gone; a process looks once a folder.

    What cannot be listed or removed stays: it is in nobody's way.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry for entry in entries if _is_dead(entry)]:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


def _is_dead(entry: os.DirEntry[str]) -> bool:
    match = _NAME.fullmatch(entry.name)
    if match is None:
        return False
    if match["machine"] != machine_sign():
        try:
            return time.time() - entry.stat(follow_symlinks=False).st_mtime > OTHERS_SECONDS
        except OSError:
            return False
    process = int(match["process"])
    return not is_alive(process) or start_of(process) not in (0, int(match["start"]))


@functools.lru_cache(maxsize=1)
def machine_sign() -> str:
    """Eight signs that stand for this machine and, of containers, this one."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"
