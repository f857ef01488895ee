"""Files that lie within others: in tar archives (`core.tars`), in cells of Parquet and Arrow files (`core.cells`).

A path below the outer file names them; nothing is unpacked.
"""

from __future__ import annotations

import os
from io import BufferedReader
from pathlib import Path

from semples.core import cells, tars


def outer_file(path: Path | str) -> str | None:
    """The file within which a path lies; None where it names a file of the disk."""
    archive = tars.inside(path)
    if archive is not None:
        return archive[0]
    cell = cells.inside(path)
    return None if cell is None else cell.file


def open_inner(path: Path | str) -> BufferedReader:
    """The bytes of a file that lies within another. Raises OSError."""
    archive = tars.inside(path)
    if archive is not None:
        return tars.open_member(*archive)
    cell = cells.inside(path)
    if cell is None:
        raise FileNotFoundError(2, "No such file", os.fspath(path))
    return cells.open_cell(cell)


def size_and_time(path: Path | str) -> tuple[int, int]:
    """Bytes of a file, and when it was changed last, in ns. Raises OSError.

    Of a file in an archive the bytes are its own and the time the archive's; of a cell both are those of its file.
    """
    archive = tars.inside(path)
    if archive is not None:
        return tars.size_and_time(*archive)
    cell = cells.inside(path)
    status = os.stat(path if cell is None else cell.file)
    return status.st_size, status.st_mtime_ns


def resolved(path: Path) -> Path:
    """The whole path, links followed. The name of a file that holds others stays, since it tells what the file is: the
    hub's cache links `train.parquet` to a file of another name."""
    outer = outer_file(path)
    if outer is None:
        return path.resolve()
    file = Path(outer)
    return file.parent.resolve() / file.name / path.relative_to(file)
