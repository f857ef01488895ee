"""Files that are either whole or absent: written under a temporary name, flushed to disk, then moved into place.

What is read is a regular file, once every link to it is followed: never a pipe, a device or a file of the system's own
(/proc), which may not end or never begin. What is written follows no link.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from semples.core import members
from semples.core.disk import disk_trouble, inner_error, trouble
from semples.core.errors import UnusableFile, UserError
from semples.core.systems import open_flags, replace
from semples.core.temporary import is_unfinished, remove, sweep, temporary_beside

__all__ = [
    "SpecialFile",
    "append_to",
    "atomic_path",
    "check_regular",
    "is_unfinished",
    "open_regular",
    "read_file",
    "read_json",
    "read_object",
    "sha256_file",
    "write_bytes",
    "write_json",
    "write_text",
]

UMASK = os.umask(0o022)  # can only be read by setting it; once at import, since threads share it
os.umask(UMASK)
SYSTEM = ("/proc/", "/sys/")  # their files say that they are regular ones


class SpecialFile(UnusableFile):
    """A pipe, a device, a socket or a file of the system stands where a file is needed."""


# ------------------------------------------------------------------------------------------------------------ writing


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and replaces `path`, on failure it is removed.

    The temporary name keeps the suffix of `path`, since libraries choose a format by it. What killed programs have left
    in the folder is swept first. Raises UserError where the folder cannot be made or written to, the disk is full, or
    `path` is a folder.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
    except OSError as error:
        raise trouble(error, target, doing="cannot be written") from None
    if target.is_dir():
        raise UserError(f"{target}: a folder; name a file")
    temporary = temporary_beside(target)
    try:
        os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | open_flags("O_NOFOLLOW"), 0o600))
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~UMASK)
        replace(temporary, target)
    except OSError as error:
        inner = inner_error(error)
        if inner is not None:
            raise trouble(inner, target, doing="cannot be written") from None
        if error.errno is None or _other(error.filename, temporary, target):
            raise
        raise trouble(error, target, doing="cannot be written") from None
    except Exception as error:
        inner = inner_error(error)
        if inner is None:
            raise
        raise trouble(inner, target, doing="cannot be written") from None
    finally:
        remove(temporary)


def _other(named: Any, *written: Path) -> bool:
    """Whether an error is about another file: what was read for the one being written, perhaps."""
    return named is not None and os.fsdecode(named) not in map(str, written)


@contextmanager
def append_to(path: Path | str) -> Iterator[IO[str]]:
    """A text file (UTF-8, newlines as given) to append to, made where it is not there; never what a link stands for.

    Raises UserError where that cannot be, or the disk is full.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | open_flags("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
    with disk_trouble(path):
        try:
            handle = os.open(path, flags, 0o666)
        except OSError as error:
            raise trouble(error, path) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise SpecialFile(f"{path}: not a file but {_kind(os.stat(path).st_mode)}; delete it")
        with open(handle, "a", encoding="utf-8", newline="\n") as file:
            yield file


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8, newlines as given) to `path` atomically."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: cannot be written: {text[error.start : error.end]!a} in it is not Unicode") from None
    write_bytes(path, data)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, non-ASCII kept readable. Raises ValueError on NaN or infinity.

    A text with the bytes of a file name that is not UTF-8 is written with escapes, which `read_json` gives back.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


# ------------------------------------------------------------------------------------------------------------ reading


def check_regular(path: Path | str) -> None:
    """Raises SpecialFile where `path`, its links followed, is anything but a regular file of a disk.

    A file that is not there, or may not be looked at, raises OSError. For libraries that open files by name.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(21, "Is a directory", str(path))
        raise SpecialFile(f"{path}: not a file but {_kind(status.st_mode)}; nothing is read from it")
    real = os.path.realpath(path)
    if real.startswith(SYSTEM):
        raise SpecialFile(f"{path}: a file of the system ({real}); nothing is read from it")


def open_regular(path: Path | str) -> BufferedReader:
    """`open(path, "rb")` for regular files alone, see `check_regular`; it never waits for another program.

    A path below a tar archive, a Parquet or an Arrow file is what lies in it (`core.members`).
    """
    outer = members.outer_file(path)
    if outer is not None:
        check_regular(outer)
        return members.open_inner(path)
    check_regular(path)
    handle = os.open(path, os.O_RDONLY | open_flags("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # it has been exchanged since
        os.close(handle)
        raise SpecialFile(f"{path}: not a file; nothing is read from it")
    return open(handle, "rb")


def read_file(path: Path | str) -> bytes:
    """All bytes of a regular file. Raises OSError or SpecialFile."""
    with open_regular(path) as file:
        return file.read()


def read_json(path: Path | str) -> Any:
    """Read a JSON file (a byte-order mark is accepted). Raises UserError naming the file and the position."""
    try:
        return json.loads(read_file(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise trouble(error, path) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise UserError(f"{path}: nested too deeply, or a number without end") from None


def read_object(path: Path | str) -> dict[str, Any]:
    """A JSON object that one can do without: empty where the file is missing or damaged, or holds something else."""
    try:
        stored = read_json(path)
    except UserError:
        return {}
    return stored if isinstance(stored, dict) else {}


def sha256_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes. Raises OSError or SpecialFile."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a named pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"), (stat.S_ISLNK, "a link"),
    )  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "something else")
