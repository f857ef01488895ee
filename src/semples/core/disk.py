"""What a disk refuses, in one line: a full disk, a quota, no permission, a failing drive."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semples.core.errors import UserError

_AGAIN = "run the same command to go on (what was finished is kept, nothing is left half)"
_WORDS = {
    errno.EACCES: "no permission; choose another folder, or change its owner or mode",
    errno.EPERM: "no permission; choose another folder, or change its owner or mode",
    errno.EROFS: "this disk can only be read; choose a folder on another one",
    errno.EIO: f"the disk reports an error, it may be failing; copy what you need, look at the disk, then {_AGAIN}",
    errno.EFBIG: f"larger than the disk or the shell's limit (ulimit -f) allows; raise it, then {_AGAIN}",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter --out, or shorter names of photos",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
    errno.EISDIR: "a folder; name a file",
    errno.ELOOP: "a link; name what it stands for, or delete it",
    errno.ENOENT: "no such file or folder",
    errno.EMFILE: f"too many files are open; raise the limit (ulimit -n) or lower data.workers, then {_AGAIN}",
    errno.ENFILE: f"too many files are open on this machine; {_AGAIN} later",
    errno.ESTALE: f"the network disk has lost it; {_AGAIN}",
}
_WRITING = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENAMETOOLONG,
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ESTALE,
)  # fmt: skip


class DiskTrouble(UserError):
    """The disk does not take or give a file; the message names the file, the disk and what is kept."""


def trouble(error: OSError, path: Path | str | None = None, *, doing: str = "") -> DiskTrouble:
    """The line for what the system refused. `path`: the file it was about, in place of the one the error names;
    `doing`: what failed, for example "cannot be written"."""
    named = path if path is not None else error.filename
    where = "a file" if named is None else os.fspath(named)
    if isinstance(where, bytes):
        where = os.fsdecode(where)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = "the disk is full" if error.errno == errno.ENOSPC else "your quota of this disk is used up"
        return DiskTrouble(
            f"{where}: {full}{'' if named is None else _room(Path(where))}; free some space and {_AGAIN}"
        )
    failed = f"{doing}: " if doing else ""
    return DiskTrouble(f"{where}: {failed}{_WORDS.get(error.errno or 0, error.strerror or str(error))}")


@contextmanager
def disk_trouble(path: Path | str) -> Iterator[None]:
    """Turn what the disk of `path` refuses within into one line; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        raise trouble(error, path) from None


def inner_error(error: Exception) -> OSError | None:
    """The refusal of the system inside another library's error, if any: safetensors writes `(os error 28)`, NumPy
    `10000 requested and 496 written`."""
    number = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    code = int(number[1]) if number else 0
    if isinstance(error, OSError) and error.errno is None and re.search(r"\d+ requested and \d+ written", str(error)):
        code = errno.ENOSPC
    return OSError(code, os.strerror(code)) if code else None


def _room(path: Path) -> str:
    """` (/home: 0.2 of 100 GB free)`: the disk that a path is on; empty where that is not known."""
    folder = Path(os.path.abspath(path))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return ""
    while not folder.is_mount() and folder != folder.parent:
        folder = folder.parent
    return f" ({folder}: {_size(usage.free)} of {_size(usage.total)} free)"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
