"""Cells of Parquet and Arrow files, read where they lie: a path below the file names one: `train.parquet/image/12.jpg`.

The parts are the column (percent-encoded) and the row within the file, counted from 0; what follows the number is only
a name's ending. Of Parquet a whole row group of the column is read at once, and the last ones are kept, up to `HELD`
bytes and one at least: rows in order cost each group once, rows in random order a group each. Arrow files are mapped
into memory. No file is kept open, and every process holds groups of its own.

pyarrow (the extra `parquet`) is imported where a file is opened. It reads columns and values, and runs nothing that a
file holds.
"""

from __future__ import annotations

import io
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from semples.core.errors import UserError

SUFFIXES = (".parquet", ".arrow")
HELD = 64 * 2**20  # bytes of row groups that a process keeps
OPENED = 512  # files whose footers are kept
LAYERS = frozenset({"list", "element", "item", "array", "bag", "array_element"})  # of lists, in Parquet's paths
LFS = b"version https://git-lfs"

Field = tuple[str, ...]  # a column, or a column and one of its fields


@dataclass(frozen=True)
class Cell:
    """A place in a file: the row counts from 0."""

    file: str
    column: str
    row: int


def path_of(file: Path, column: str, row: int, suffix: str) -> Path:
    """The path that stands for a cell; `suffix` is what its name ends in."""
    named = quote(column, safe=" ")
    return file / (f"%2E{named[1:]}" if named.startswith(".") else named) / f"{row}{suffix}"


def inside(path: Path | str) -> Cell | None:
    """The cell that a path below a Parquet or Arrow file names; None for any other path."""
    parts = os.fspath(path).split(os.sep)
    if len(parts) < 3 or not parts[-3].casefold().endswith(SUFFIXES):
        return None
    number = parts[-1].partition(".")[0]
    file = os.sep.join(parts[:-2])
    if not (number.isascii() and number.isdigit()) or not os.path.isfile(file):
        return None
    return Cell(file, unquote(parts[-2]), int(number))


def open_cell(cell: Cell) -> io.BufferedReader:
    """The bytes of a cell. Raises OSError where the file has none there, or cannot be read."""
    value = _held(os.getpid()).value(cell)
    value = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(value, bytes):
        raise FileNotFoundError(2, "No bytes in this cell", f"{cell.file}, {cell.column}, row {cell.row}")
    return io.BufferedReader(io.BytesIO(value))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- files


class Columnar(Protocol):
    """A file of columns."""

    kind: str

    @property
    def schema(self) -> Any:
        """pyarrow's schema, with its metadata."""
        ...

    @property
    def starts(self) -> Sequence[int]:
        """The row each group begins with, and the number of rows."""
        ...

    def batches(self, fields: Sequence[Field]) -> Iterator[Any]:
        """Batches (pyarrow) of rows in order, with these fields alone."""
        ...

    def group(self, number: int, field: Field) -> Any:
        """A column (pyarrow, chunked) of one group."""
        ...

    def nulls(self, number: int, field: Field) -> int | None:
        """How many cells of a group hold nothing; None where the file does not say."""
        ...

    def weight(self, number: int, field: Field) -> int:
        """Bytes that reading a group of a field takes; 0 where cells are read one by one."""
        ...


@contextmanager
def columnar(path: Path | str) -> Iterator[Columnar]:
    """Yield a file of columns. Raises UserError where it is none, where reading it fails, and without pyarrow."""
    file = os.fspath(path)
    try:
        opened = _opened(file)
        with _whole(file, opened.kind):
            yield opened
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; make or download it again") from None


def _opened(path: str) -> Columnar:
    status = os.stat(path)
    return _remembered(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=OPENED)
def _remembered(path: str, size: int, changed: int) -> Columnar:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError(f"{path}: Parquet and Arrow files need pyarrow: pip install 'semples[parquet]'") from None
    with open(path, "rb") as file:
        if file.read(len(LFS)) == LFS:
            raise OSError(5, "a pointer of Git LFS in place of the file itself (`git lfs pull` brings it)", path)
    return ArrowFile(path) if path.casefold().endswith(".arrow") else ParquetFile(path)


@contextmanager
def _whole(path: str, kind: str) -> Iterator[None]:
    """Turn what pyarrow raises into an OSError of one line."""
    import pyarrow

    try:
        yield
    except OSError as error:
        if error.strerror is not None and error.filename == path:
            raise  # told already
        raise OSError(5, f"not a whole {kind} file ({' '.join(str(error).split())[:160]})", path) from None
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise OSError(5, f"not a whole {kind} file ({reason})", path) from None


class ParquetFile:
    """A Parquet file, of which the footer is kept."""

    kind = "Parquet"

    def __init__(self, path: str) -> None:
        import pyarrow.parquet as pq

        self._path = path
        with _whole(path, self.kind), pq.ParquetFile(path) as file:
            self._metadata, self.schema = file.metadata, file.schema_arrow
            self._leaves = [file.schema.column(index).path for index in range(len(file.schema))]
            counts = (file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups))
            self.starts: Sequence[int] = list(accumulate(counts, initial=0))

    def batches(self, fields: Sequence[Field]) -> Iterator[Any]:
        """See `Columnar`."""
        columns = [leaf for field in fields for leaf in self._below(field)]
        with self._open() as file:
            yield from file.iter_batches(columns=columns, use_threads=False)

    def group(self, number: int, field: Field) -> Any:
        """See `Columnar`."""
        with self._open() as file:
            return file.read_row_group(number, columns=self._below(field), use_threads=False).column(0)

    def nulls(self, number: int, field: Field) -> int | None:
        """See `Columnar`."""
        told = self._chunk(number, field).statistics
        return told.null_count if told is not None and told.has_null_count else None

    def weight(self, number: int, field: Field) -> int:
        """See `Columnar`."""
        return int(self._chunk(number, field).total_uncompressed_size)

    def _chunk(self, number: int, field: Field) -> Any:
        return self._metadata.row_group(number).column(self._leaves.index(self._below(field)[0]))

    def _below(self, field: Field) -> list[str]:
        """The leaves of a field, by Parquet's paths."""
        name, *rest = field
        leaves = []
        for leaf in self._leaves:
            if leaf == name or leaf.startswith(f"{name}."):
                words = [word for word in leaf[len(name) + 1 :].split(".") if word not in LAYERS]
                if words[: len(rest)] == rest:
                    leaves.append(leaf)
        if not leaves:
            raise OSError(5, f"no column {'.'.join(field)!r} in the file", self._path)
        return leaves

    @contextmanager
    def _open(self) -> Iterator[Any]:
        import pyarrow.parquet as pq

        with _whole(self._path, self.kind), pq.ParquetFile(self._path, metadata=self._metadata) as file:
            yield file


class ArrowFile:
    """An Arrow file (a stream, as `datasets` writes it, or the file format), mapped into memory."""

    kind = "Arrow"

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        self._path = path
        with _whole(path, self.kind):
            mapped = pa.memory_map(path)
            stream = mapped.read(6) != b"ARROW1"
            mapped.seek(0)
            reader = pa.ipc.open_stream(mapped) if stream else pa.ipc.open_file(mapped)
            self._table = reader.read_all()
        self._sound: dict[str, Any] = {}
        self.schema = self._table.schema
        self.starts: Sequence[int] = [0, self._table.num_rows]

    def batches(self, fields: Sequence[Field]) -> Iterator[Any]:
        """See `Columnar`; a field of a column comes with its whole column."""
        import pyarrow as pa

        columns = {field[0]: self._column(field[0]) for field in fields}
        yield from pa.table(columns).to_batches(max_chunksize=1000)

    def group(self, number: int, field: Field) -> Any:
        """See `Columnar`."""
        return self._column(field[0])

    def nulls(self, number: int, field: Field) -> int | None:
        """See `Columnar`."""
        return self._column(field[0]).null_count if len(field) == 1 else None

    def weight(self, number: int, field: Field) -> int:
        """See `Columnar`."""
        return 0

    def _column(self, name: str) -> Any:
        """A column whose cells all lie within the file: a damaged one would be read from anywhere in memory."""
        if name not in self._sound:
            if self._table.column_names.count(name) != 1:
                raise OSError(5, f"no column {name!r} in the file", self._path)
            column = self._table.column(name)
            with _whole(self._path, self.kind):
                column.validate(full=True)
            self._sound[name] = column
        return self._sound[name]


# ------------------------------------------------------------------------------------------------------------- groups


class Held:
    """Row groups that a process has read, the last used ones up to a number of bytes."""

    def __init__(self, limit: int = HELD) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._groups: OrderedDict[tuple[str, int, int, str, int], tuple[Any, int]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that are held."""
        return sum(size for _, size in self._groups.values())

    def value(self, cell: Cell) -> Any:
        """What a cell holds. Raises OSError."""
        status = os.stat(cell.file)
        file = _remembered(cell.file, status.st_size, status.st_mtime_ns)
        if cell.row >= file.starts[-1]:
            raise FileNotFoundError(2, f"No row {cell.row} in the file", cell.file)
        number = bisect_right(file.starts, cell.row) - 1
        key = (cell.file, status.st_size, status.st_mtime_ns, cell.column, number)
        with self._lock:  # photos that are asked for at once mostly lie in one group
            column = self._group(key, lambda: file.group(number, bytes_field(file.schema, cell.column)))
        with _whole(cell.file, file.kind):
            return column[cell.row - file.starts[number]].as_py()

    def _group(self, key: tuple[str, int, int, str, int], read: Callable[[], Any]) -> Any:
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key][0]
        column = read()
        self._groups[key] = column, (0 if key[0].casefold().endswith(".arrow") else column.nbytes)
        while len(self._groups) > 1 and self.size > self._limit:
            self._groups.popitem(last=False)
        return column


@lru_cache(maxsize=1)
def _held(process: int) -> Held:
    """The groups of a process: a forked one begins with none, and with a lock that nobody holds."""
    return Held()


def bytes_field(schema: Any, column: str) -> Field:
    """The field of a column that holds the bytes of pictures: the column, or its field `bytes`."""
    index = schema.get_field_index(column)
    kind = schema.field(index).type if index >= 0 else None
    fields = [kind.field(place).name for place in range(kind.num_fields)] if kind is not None else []
    return (column, "bytes") if "bytes" in fields else (column,)
