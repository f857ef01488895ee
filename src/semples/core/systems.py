"""What Linux, macOS and Windows do each in a way of their own: locks, moving, other processes, names of files.

Linux is what the tests run on. The ways of the others stand beside it, each behind one function with the same answers.
"""

from __future__ import annotations

import errno
import functools
import operator
import os
import re
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

WINDOWS = os.name == "nt"
PATIENCE = 5.0  # seconds that a file which another program reads (a virus scanner) may keep from being replaced
LOCKED = 1 << 30  # place of the locked bytes on Windows: behind all that a lock's file says
READERS = 64  # at once: each locks one of the bytes, a writer all of them
_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³")}


def open_flags(*names: str) -> int:
    """Those of these flags of `os.open` that the system has."""
    return functools.reduce(operator.or_, (getattr(os, name, 0) for name in names), 0)


def replace(source: Path | str, target: Path | str) -> None:
    """`os.replace`, which waits a little where Windows says that another program has the target open.

    Raises OSError.
    """
    begin, pause = time.monotonic(), 0.01
    while True:
        try:
            os.replace(source, target)
        except PermissionError:
            if not WINDOWS or time.monotonic() - begin > PATIENCE:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        else:
            return


def try_lock(handle: int, *, shared: bool) -> bool:
    """Lock an open file, for one writer or for many readers, until it is closed; False where somebody else holds it.

    True as well on a disk that knows no locks.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_bytes(handle, shared=shared)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock_bytes(handle: int, *, shared: bool) -> bool:
    """`try_lock` with the only locks that Windows gives to Python: of bytes, each for one program."""
    import msvcrt

    spans = [(LOCKED + place, 1) for place in range(READERS)] if shared else [(LOCKED, READERS)]
    for start, count in spans:
        os.lseek(handle, start, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, count)  # type: ignore[attr-defined, unused-ignore]
        except OSError as error:
            if error.errno in _BUSY:
                continue
        os.lseek(handle, 0, os.SEEK_SET)
        return True
    return False


def try_lock_byte(handle: int, place: int) -> bool:
    """Lock a byte of an open file for this process, which may lie behind the file's end; False where another has it.

    A process that ends lets go of it. True as well on a disk that knows no locks.
    """
    try:
        import fcntl
    except ImportError:
        return _windows_byte(handle, place, lock=True)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError as error:
        return error.errno not in _BUSY
    return True


def unlock_byte(handle: int, place: int) -> None:
    """Let go of a byte that `try_lock_byte` has locked."""
    try:
        import fcntl
    except ImportError:
        _windows_byte(handle, place, lock=False)
        return
    with suppress(OSError):
        fcntl.lockf(handle, fcntl.LOCK_UN, 1, place)


def _windows_byte(handle: int, place: int, *, lock: bool) -> bool:
    import msvcrt

    os.lseek(handle, place, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK if lock else msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError as error:
        return error.errno not in _BUSY
    return True


def read_at(handle: int, buffer: memoryview, place: int) -> bool:
    """Fill `buffer` (bytes) from a place of an open file; whether there was as much. Raises OSError.

    Where the system cannot read at a place without going there, one thread at a time.
    """
    if hasattr(os, "preadv"):
        return os.preadv(handle, [buffer], place) == len(buffer)
    os.lseek(handle, place, os.SEEK_SET)
    data = os.read(handle, len(buffer))
    buffer[: len(data)] = data
    return len(data) == len(buffer)


def write_at(handle: int, data: memoryview, place: int) -> None:
    """Write bytes at a place of an open file. Raises OSError."""
    while data:
        if hasattr(os, "pwrite"):
            count = os.pwrite(handle, data, place)
        else:
            os.lseek(handle, place, os.SEEK_SET)
            count = os.write(handle, data)
        data, place = data[count:], place + count


def is_alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    if WINDOWS:  # asking with a signal would end it
        import psutil

        return bool(psutil.pid_exists(process))
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's process
        return True
    return True


def start_of(process: int) -> int:
    """When a process began, in a unit of the system's own; 0 where that is not known."""
    if os.path.isdir("/proc/self"):
        try:
            text = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0
        return int(text.rpartition(")")[2].split()[19])
    return _told_start(process)


def _told_start(process: int) -> int:
    """`start_of` where there is no /proc: hundredths of a second since 1970."""
    import psutil

    try:
        return round(psutil.Process(process).create_time() * 100)
    except (psutil.Error, ValueError, OverflowError):
        return 0


def cpu_seconds() -> float:
    """Seconds that processors have worked for this process and those that it began and that have ended."""
    told = os.times()
    return told.user + told.system + told.children_user + told.children_system


def load_average() -> float:
    """Processors in use, on average over the last minute; 0 where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def is_drive(source: str) -> bool:
    """Whether a text is a path that begins with a drive of Windows: `C:\\models`, `d:/models`."""
    return re.match(r"[A-Za-z]:[\\/]", source) is not None


def family_of(source: str) -> tuple[str, str, str]:
    """A source of weights as (FAMILY, ":", REST) of `FAMILY:REST`; ("", "", source) where it names no family."""
    family, colon, rest = source.partition(":")
    return (family, colon, rest) if colon and not is_drive(source) else ("", "", source)


def windows_objection(path: str) -> str | None:
    """Why Windows could not keep a file of this relative path, or would keep another in its place; None: it can."""
    for part in PurePosixPath(path.replace("\\", "/")).parts:
        sign = re.search(r'[<>:"|?*\x00-\x1f]', part)
        if sign is not None:
            return f"{part[:60]!r} has a {sign[0]!a} in it"
        if part.split(".")[0].rstrip(" ").upper() in _DEVICES:
            return f"{part[:60]!r} is the name of a device"
        if part not in (".", "..") and part[-1] in " .":
            return f"{part[:60]!r} ends in {part[-1]!r}"
    return None
