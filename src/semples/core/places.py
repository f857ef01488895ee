"""Where a photo's file lies in a folder of many: `ID.png`, or in a numbered folder (`00003/ID.png`) of too many photos.

A folder whose photos would put more than `MOST` files into one of its folders is numbered before the first is written:
photos in the order of their ids, `MOST` to a folder. `numbered.json` in it says the first id of each, so that the place
of any id follows from the folder alone. Without that file, ids are paths as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath

from semples.core.errors import UserError
from semples.core.files import is_unfinished, read_json, write_json

MOST = 10_000  # files of photos in one folder
NUMBERED = "numbered.json"


def place_of(folder: Path, id: str, suffix: str) -> Path:
    """The path of a photo's file in `folder`, whether it is there or not; suffix: with its full stop."""
    first = _first_ids(folder)
    return folder / _numbered(id, suffix, first) if first else folder / f"{id}{suffix}"


def ids_in(folder: Path, suffix: str) -> Iterator[str]:
    """Ids of the files of this suffix in `folder`, in no order. Files still being written are left out."""
    for path in folder.rglob(f"*{suffix}"):
        if not is_unfinished(path):
            name = without_number(folder, path.relative_to(folder).as_posix())
            if name:
                yield name.removesuffix(suffix)


def without_number(folder: Path, name: str) -> str:
    """The path `name` below `folder` as it would be if that were not numbered; empty for a file beside its folders. A
    file in another folder than the numbered ones keeps its path."""
    first = _first_ids(folder)
    if not first:
        return name
    top, _, rest = name.partition("/")
    is_numbered = top.isascii() and top.isdecimal() and int(top) < len(first) and top == f"{int(top):05d}"
    return rest if is_numbered or not rest else name


def number(
    folder: Path, ids: Iterable[str], *, suffix: str, most: int | None = None, leave_out: Collection[str] = ()
) -> None:
    """Make ready for a file of each of `ids`, all photos of the data set: numbered folders where one folder would get
    more than `most` (`MOST`).

    To be called by every process before it writes or looks for files there. A folder that has files stays as it is.
    leave_out: folders in `folder` that are looked after on their own.
    """
    ids = sorted(ids)
    most = MOST if most is None else most
    fullest = max(Counter(str(PurePosixPath(id).parent) for id in ids).values(), default=0)
    with suppress(UserError):  # a damaged list is made again
        if fullest <= most or _first_ids(folder):
            return
    first = ids[::most]
    files = (path.relative_to(folder) for path in folder.rglob(f"*{suffix}") if not is_unfinished(path))
    below = next((path for path in files if path.parts[0] not in leave_out), None)
    if below is not None:
        id = PurePosixPath(*below.parts[1:]).as_posix().removesuffix(suffix) if len(below.parts) > 1 else ""
        if id not in set(ids) or below.as_posix() != _numbered(id, suffix, first):
            return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / NUMBERED, {"first": first})


def _numbered(id: str, suffix: str, first: Sequence[str]) -> str:
    return f"{max(0, bisect_right(first, id) - 1):05d}/{id}{suffix}"


def _first_ids(folder: Path) -> tuple[str, ...]:
    """The first id of every numbered folder; none where `folder` is not numbered."""
    path = folder / NUMBERED
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return ()
    return _read(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=64)
def _read(path: Path, *state: int) -> tuple[str, ...]:
    stored = read_json(path)
    first = stored.get("first") if isinstance(stored, dict) else None
    if not isinstance(first, list) or not first or not all(isinstance(id, str) for id in first):
        raise UserError(f"{path}: damaged; the command that writes this folder makes it again")
    return tuple(first)
