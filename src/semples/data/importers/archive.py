"""Archives of annotations (zip, tar), unpacked beside the output for as long as they are read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semples.core.errors import UserError
from semples.data.fetch.archives import unpack

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
GROWTH = 300  # times its size: more than any export grows, less than a bomb does
SPARE = 20_000_000


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name."""
    return path.is_file() and path.name.casefold().endswith(SUFFIXES)


@contextmanager
def unpacked(archive: Path, out: Path) -> Iterator[Path]:
    """A folder with what the archive holds, beside `out` so that photos can be linked there; removed at the end.

    Raises UserError for a hostile, damaged or too large archive (more than 300 times its size and 20 MB).
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=".semples-unpacked-"))
    except OSError as error:
        raise UserError(f"{out.parent}: cannot be written: {error.strerror}") from None
    try:
        count = unpack(archive, folder, want=_wanted, max_bytes=GROWTH * archive.stat().st_size + SPARE)
        if not count:
            raise UserError(f"{archive}: an archive without files")
        yield _inner(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wanted(member: str) -> str | None:
    path = member.removeprefix("./")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
    return None if hidden or not path else path


def _inner(folder: Path) -> Path:
    """The folder itself, or the only one in it, and so on."""
    entries = list(folder.iterdir())
    return _inner(entries[0]) if len(entries) == 1 and entries[0].is_dir() and _only_wraps(entries[0]) else folder


def _only_wraps(folder: Path) -> bool:
    """Whether a folder holds the export (several things), rather than being a class or a part itself."""
    return len(list(folder.iterdir())) > 1 and any(path.is_file() for path in folder.iterdir())
