"""Files without a name that several processes have open: nothing of them is left behind by whoever is killed.

Linux opens such a file again by the process that has it, `/proc/PROCESS/fd/NUMBER`. Elsewhere it keeps a temporary
name, which goes with the process that made it or, should that be killed, when the next one makes a file there
(`core.temporary`).
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semples.core.systems import open_flags
from semples.core.temporary import remove, sweep, temporary_beside

HANDLES = Path("/proc/self/fd")


@dataclass(frozen=True)
class Unnamed:
    """An open file. handle: its number in this process. name: what another process of this user on this machine opens
    it by, as long as the process that made it is there. visible: the path of one that this process has to remove."""

    handle: int
    name: str
    visible: Path | None = None

    @classmethod
    def make(cls, folder: Path | None, *, size: int) -> Unnamed:
        """A file of `size` zeros that takes no room yet, readable by this user alone; folder: on whose disk it lies,
        None: in memory, as far as the system lets files lie there. Raises OSError."""
        in_memory: Callable[..., int] | None = getattr(os, "memfd_create", None)
        hidden = HANDLES.is_dir()
        path: Path | None = None
        if folder is None and in_memory is not None and hidden:
            handle = in_memory("semples")
        else:
            folder = Path(tempfile.gettempdir()) if folder is None else folder
            sweep(folder)
            path = temporary_beside(folder / "photos")
            handle = _opened(path, new=True)
            if hidden:
                path.unlink()
                path = None
        try:
            os.ftruncate(handle, size)
        except OSError:
            _close(handle, path, os.getpid())
            raise
        return cls(handle, f"/proc/{os.getpid()}/fd/{handle}" if path is None else str(path), path)

    @classmethod
    def open(cls, name: str) -> Unnamed:
        """The file that another process has made. Raises OSError."""
        return cls(_opened(Path(name), new=False), name)

    def close_with(self, owner: object) -> None:
        """Close it when `owner` goes, or this process."""
        weakref.finalize(owner, _close, self.handle, self.visible, os.getpid())


def _opened(path: Path, *, new: bool) -> int:
    flags = os.O_RDWR | open_flags("O_CLOEXEC", "O_BINARY")
    return os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)


def _close(handle: int, visible: Path | None, process: int) -> None:
    if os.getpid() != process:  # a copy, which has no part in it
        return
    os.close(handle)
    if visible is not None:
        remove(visible)
