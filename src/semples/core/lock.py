"""One writer at a time in a folder. The lock goes with the process that holds it, however that ends."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semples.core.disk import trouble
from semples.core.errors import UserError
from semples.core.plain import plain
from semples.core.systems import WINDOWS, is_alive, open_flags, try_lock

LOCK = ".lock"


class Busy(UserError):
    """Another program writes in the folder; the message says which."""


@contextmanager
def exclusive(folder: Path, *, what: str, keep: bool = True) -> Iterator[None]:
    """Keep every other program out of `folder` (made where it is not there) while this one writes.

    `what` is done there, for the message of the others: `another run`. `keep`: leave the lock's file behind. Raises
    UserError: Busy where another program is there; the folder cannot be written to; its lock is a link or no file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise trouble(error, folder, doing="cannot be written") from None
    path = folder / LOCK
    handle, done = _opened(path, os.O_RDWR | os.O_CREAT), False
    try:
        if not try_lock(handle, shared=False) or not _is_there(handle, path):
            raise Busy(f"{folder}: {_holder(handle, what)} is writing here; wait for it or choose another folder")
        with suppress(OSError):  # on a full disk the lock itself holds; only its note is missing
            os.ftruncate(handle, 0)
            os.write(handle, _note(what))
        try:
            yield
        finally:
            if keep or WINDOWS:
                with suppress(OSError):
                    os.ftruncate(handle, 0)
            else:
                path.unlink(missing_ok=True)
            done = True
    finally:
        os.close(handle)
        if WINDOWS and done and not keep:  # it removes no open file; where another program has it open, that keeps it
            with suppress(OSError):
                path.unlink()


def _is_there(handle: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name: its holder before may just have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Keep writers out of `folder` while it is read. Raises Busy where one is there."""
    try:
        handle = _opened(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except UserError:
        if not os.path.lexists(folder / LOCK):  # a folder that can only be read: nobody writes there
            yield
            return
        handle = _opened(folder / LOCK, os.O_RDONLY)
    try:
        if not try_lock(handle, shared=True):
            writer = _holder(handle, "another program")
            raise Busy(f"{folder}: {writer} is writing here; wait for it, then run the same command")
        yield
    finally:
        os.close(handle)


def _opened(path: Path, how: int) -> int:
    """The lock file, never what a link of that name stands for. Raises UserError."""
    safe = open_flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
    refused = UserError(f"{path}: not a lock of this program but a link, a pipe or a folder; delete it")
    if path.is_symlink():
        raise refused
    try:
        handle = os.open(path, how | safe, 0o666)
    except OSError as error:
        if not path.is_file() and os.path.lexists(path):
            raise refused from None
        raise trouble(error, path, doing="cannot be written") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refused
    return handle


def _note(what: str) -> bytes:
    command = " ".join(map(os.path.basename, sys.argv[:1])) + " " + " ".join(sys.argv[1:2])
    return json.dumps({"what": what, "process": os.getpid(), "command": command.strip()}).encode()


def _holder(handle: int, other: str) -> str:
    """Who holds the lock, as far as its note tells; else `other`."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        note = json.loads(os.read(handle, 4096))
        what, process, command = str(note["what"]), int(note["process"]), str(note["command"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return other
    if not is_alive(process):  # of another machine; or it was killed, and somebody reads now
        return other
    return f"{plain(what[:60])} (process {process}, {plain(command[:60])})"
