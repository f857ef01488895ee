"""Unpacking archives without trusting them.

Only the members asked for are written, only regular files, only below the folder, no more bytes than allowed; nothing
is made executable and no link is ever made, so none can be written through. An archive with a member that climbs out
(`../x`, `/x`, `C:\\x`) is refused as a whole where its list of members can be read first (zip), at that member else.

Each file appears whole or not at all. One that is there with the right size is left alone: that is how an unpacking
that was cut off is taken up again.
"""

from __future__ import annotations

import lzma
import multiprocessing
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import atomic_path
from semples.core.progress import counter, track
from semples.core.systems import WINDOWS, windows_objection
from semples.data.fetch.download import MEGABYTE

BLOCK = 1 << 20
MAX_FILES = 500_000
CHUNK = 64  # pieces of work handed to another process at once
PIECES = 32  # of a zip, for each process

Job = TypeVar("Job")
Result = TypeVar("Result")

# What Python's readers raise on damaged data; an OSError comes from a position that no file can have.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, MemoryError,
    OverflowError, NotImplementedError, RuntimeError, ValueError, TypeError, LookupError,
)  # fmt: skip


def unpack(archive: Path, folder: Path, *, want: Callable[[str], str | None], max_bytes: int, workers: int = 1) -> int:
    """Write the wanted members of a tar (plain or compressed) or zip below `folder`; the number of files there now.

    `want(member)` gives the path below `folder` a member gets, or None. `max_bytes` bounds the sum of the wanted
    members' sizes, and for a tar twice that everything in it. `workers` processes unpack a zip at once.
    Raises UserError for a hostile or damaged archive and for a full disk.
    """
    try:
        if zipfile.is_zipfile(archive):
            return _unpack_zip(archive, folder, want, max_bytes, workers)
        return _unpack_tar(archive, folder, want, max_bytes)
    except FileNotFoundError:
        raise UserError(f"{archive}: no such file") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"{archive}: damaged or no archive ({reason}); remove it and try again") from None


def member_path(archive: Path, name: str) -> PurePosixPath:
    """A member's name as a path that stays below the folder. Raises UserError where it would not."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name or not path.parts:
        raise UserError(f"{archive}: refused, its member {name[:80]!r} would land outside the folder; get another copy")
    objection = windows_objection(name) if WINDOWS else None
    if objection is not None:
        raise UserError(f"{archive}: refused, Windows can keep no {name[:80]!r}: {objection}; rename it in the archive")
    return path


def below(prefix: str, *suffixes: str) -> Callable[[str], str | None]:
    """A `want` for `unpack`: the members below the folder `prefix` (with one of `suffixes`), under their own names."""

    def want(member: str) -> str | None:
        path = member.removeprefix("./")
        hidden = any(part.startswith("._") for part in path.split("/"))  # side files of macOS
        inside = path.startswith(prefix) and not hidden and "__MACOSX" not in path
        return path if inside and (not suffixes or path.endswith(suffixes)) else None

    return want


def _target(archive: Path, folder: Path, name: str, want: Callable[[str], str | None]) -> Path | None:
    path = member_path(archive, name)
    chosen = want(path.as_posix())
    return None if chosen is None else folder / member_path(archive, chosen)


def _refuse_size(archive: Path, files: int, size: int, max_bytes: int) -> None:
    if size > max_bytes or files > MAX_FILES:
        raise UserError(
            f"{archive}: refused, its members would take more than {max_bytes / 1e9:.3g} GB or {MAX_FILES} files; "
            "get another copy"
        )


def _refuse_kind(archive: Path, name: str) -> None:
    raise UserError(f"{archive}: refused, its member {name[:80]!r} is a link or a device, not a file; get another copy")


def _there(target: Path, size: int) -> bool:
    return target.is_file() and target.stat().st_size == size


def _write(target: Path, source: IO[bytes], size: int) -> None:
    """Write exactly `size` bytes of `source`. Raises ValueError where it holds more or fewer."""
    with disk_trouble(target), atomic_path(target) as temporary, open(temporary, "wb") as file:
        left = size
        while block := source.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{target.name} is larger than the archive says")
            file.write(block)
        if left:
            raise ValueError(f"{target.name} is cut off")


# ------------------------------------------------------------------------------------------------------------- tar


def _unpack_tar(archive: Path, folder: Path, want: Callable[[str], str | None], max_bytes: int) -> int:
    files = total = read = 0
    with (
        open(archive, "rb") as packed,
        tarfile.open(fileobj=packed, mode="r|*") as tar,
        counter(label=f"unpacking {archive.name} (MB)", total=archive.stat().st_size // MEGABYTE) as advance,
    ):
        for member in tar:
            before, read = read, packed.tell() // MEGABYTE
            for _ in range(read - before):
                advance("")
            if member.offset_data + member.size > 2 * max_bytes:
                _refuse_size(archive, files, max_bytes + 1, max_bytes)
            if member.isdir():
                continue
            target = _target(archive, folder, member.name, want)
            if target is None:
                continue
            if not member.isreg() or member.issparse():
                _refuse_kind(archive, member.name)
            files, total = files + 1, total + member.size
            _refuse_size(archive, files, total, max_bytes)
            if not _there(target, member.size):
                source = tar.extractfile(member)
                if source is not None:
                    _write(target, source, member.size)
    return files


# ------------------------------------------------------------------------------------------------------------- zip


def _unpack_zip(archive: Path, folder: Path, want: Callable[[str], str | None], max_bytes: int, workers: int) -> int:
    jobs: list[tuple[str, Path]] = []
    total = files = 0
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            target = _target(archive, folder, member.orig_filename, want)
            if target is None or member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                _refuse_kind(archive, member.filename)
            if member.flag_bits & 1:
                raise UserError(f"{archive}: refused, its member {member.filename[:80]!r} is encrypted")
            files, total = files + 1, total + member.file_size
            if not _there(target, member.file_size):
                jobs.append((member.filename, target))
    _refuse_size(archive, files, total, max_bytes)
    # Each piece reads the list of members anew, a second for the largest: few pieces, but enough to show progress.
    step = max(CHUNK, -(-len(jobs) // (PIECES * max(1, workers))))
    chunks = [jobs[start : start + step] for start in range(0, len(jobs), step)]
    for _ in track(
        in_processes(partial(_unpack_some, archive), chunks, workers=workers),
        label=f"unpacking {archive.name} ({step} files each)",
        total=len(chunks),
    ):
        pass
    return files


def _unpack_some(archive: Path, jobs: list[tuple[str, Path]]) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for name, target in jobs:
            info = zipped.getinfo(name)
            with zipped.open(info) as source:
                _write(target, source, info.file_size)


# ------------------------------------------------------------------------------------------------- shared helpers


def in_processes(task: Callable[[Job], Result], jobs: list[Job], *, workers: int) -> Iterator[Result]:
    """`map(task, jobs)` on several processes; `task` and its jobs must be picklable. An error of a job is raised."""
    if workers <= 1 or len(jobs) <= 1:
        yield from map(task, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(task, jobs)
        except BrokenProcessPool:
            raise UserError("a helper process was ended (memory?); run the same command to go on") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link where the disk allows it, else a copy.

    A target of the same size is taken for the same file.
    """
    if _there(target, source.stat().st_size):
        return
    with disk_trouble(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)


def place_tree(source: Path, target: Path, *, label: str) -> int:
    """`place` every file directly in `source` into `target`; how many there are. Hidden files are left out."""
    files = sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))
    for path in track(files, label=label):
        place(path, target / path.name)
    return len(files)
