"""How much memory and disk is free for this process, containers' limits included."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEMBER, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# A limit, what is used of it, and the name, in memory.stat, of what the system gives back by itself when asked.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory() -> int:
    """Bytes that can be had without pushing anything out: of the machine, or of this container or job where that is
    given less."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_in_groups()])


def free_disk(folder: Path) -> int:
    """Bytes free on the disk of `folder`; 0 where that cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _left_in_groups() -> Iterator[int]:
    """What each limit leaves that Linux has put on this process (cgroups)."""
    try:
        lines = MEMBER.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        top, names = (GROUPS / "memory", _V1) if kinds else (GROUPS, _V2)
        here = top / path.lstrip("/")
        for folder in dict.fromkeys((here, *here.parents, top)):
            if folder.is_relative_to(top):
                yield from _left(folder, *names)


def _left(folder: Path, limit: str, used: str, given_back: str) -> Iterator[int]:
    with suppress(OSError, ValueError):  # "max" is no number
        most, now = (int((folder / name).read_text(encoding="ascii")) for name in (limit, used))
        rows = (line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        yield max(0, most - now + next((int(row[1]) for row in rows if row[0] == given_back), 0))
