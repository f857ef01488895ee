"""Files inside tar archives, read where they lie: a path below the archive names one, `photos-000.tar/cat.jpg`.

Only plain members count: no links, no devices, no sparse files. Nothing is unpacked, so no name can lead anywhere.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

SUFFIX = ".tar"


def inside(path: Path | str) -> tuple[str, str] | None:
    """The archive and the name in it of a path below a tar file; None for any other path."""
    parts = os.fspath(path).split(os.sep)
    for place, part in enumerate(parts[:-1], start=1):
        if part.endswith(SUFFIX):
            archive = os.sep.join(parts[:place])
            if os.path.isfile(archive):
                return archive, "/".join(parts[place:])
    return None


def members(archive: Path | str) -> Mapping[str, tuple[int, int]]:
    """Where each plain member's bytes begin, and how many they are, by name, in the archive's order.

    The headers are read once as long as the archive stays as it is. Raises OSError where it is not a whole tar archive.
    """
    status = os.stat(archive)
    return _members(os.fspath(archive), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _members(archive: str, size: int, changed: int) -> Mapping[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(archive, "r:") as file:
            for member in file:
                if member.isreg() and not member.issparse():
                    places[member.name.removeprefix("./")] = (member.offset_data, member.size)
                file.members = []  # type: ignore[attr-defined]  # what was seen need not be kept
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise OSError(5, f"not a whole tar archive ({error})", archive) from None
    if any(start + length > size for start, length in places.values()):
        raise OSError(5, "not a whole tar archive (its last file is cut off)", archive)
    return places


def open_member(archive: str, name: str) -> io.BufferedReader:
    """The bytes of a member. Raises OSError where the archive has none of this name."""
    place = members(archive).get(name)
    if place is None:
        raise FileNotFoundError(2, "No such file in the archive", f"{archive}{os.sep}{name}")
    with open(archive, "rb") as file:
        file.seek(place[0])
        return io.BufferedReader(io.BytesIO(file.read(place[1])))  # type: ignore[arg-type]


def size_and_time(archive: str, name: str) -> tuple[int, int]:
    """Bytes of a member, and when its archive was changed last, in ns. Raises OSError."""
    place = members(archive).get(name)
    if place is None:
        raise FileNotFoundError(2, "No such file in the archive", f"{archive}{os.sep}{name}")
    return place[1], os.stat(archive).st_mtime_ns
