"""Files that are either whole or absent: written under a temporary name, flushed to disk, then moved into place."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semples.core.errors import UserError

MARK = ".tmp"
UMASK = os.umask(0o022)  # can only be read by setting it; once at import, since threads share it
os.umask(UMASK)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and replaces `path`, on failure it is removed.

    The temporary name keeps the suffix of `path`, since libraries choose a format by it. Raises UserError where the
    folder cannot be made or written to.
    """
    target = Path(path)
    prefix, suffix = f".{target.stem[:50]}.", f"{MARK}{target.suffix}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=suffix)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~UMASK)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether the file is a temporary one of `atomic_path`; where nobody writes, the rest of a killed program."""
    return path.name.startswith(".") and MARK in (path.suffix, Path(path.stem).suffix) and path.is_file()


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8, newlines as given) to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, non-ASCII kept readable. Raises ValueError on NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file (a byte-order mark is accepted). Raises UserError naming the file and the position."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None


def sha256_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
