"""The files that a step has made: listed with size and SHA-256 when it is finished, compared whenever that matters."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import is_unfinished, sha256_file, write_text
from semples.core.ranks import ALONE, Ranks
from semples.run.names import BEFORE

OUTPUTS = "outputs.txt"
# What is no result: it differs from run to run (times, host names), or goes when the step is finished; nobody reads it.
VOLATILE = ("tensorboard", "times.jsonl", BEFORE)


def write(folder: Path, *, leave_out: Collection[str]) -> dict[str, Any]:
    """Write the list of all files below `folder`, a line each: SHA-256, bytes, path (signs beyond ASCII and line breaks
    as Python escapes them). Returns how many there are, their bytes, and the digest of the list itself."""
    paths = sorted(path for path in _files(folder) if path.relative_to(folder).as_posix() not in {*leave_out, OUTPUTS})
    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(sha256_file, paths))
    sizes = [path.stat().st_size for path in paths]
    lines = [
        f"{digest}  {size}  {_escaped(path.relative_to(folder).as_posix())}\n"
        for digest, size, path in zip(digests, sizes, paths, strict=True)
    ]
    text = "".join(lines)
    write_text(folder / OUTPUTS, text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"files": len(paths), "bytes": sum(sizes), "sha256": digest, "left_out": sorted(leave_out)}


def damaged(folder: Path, described: dict[str, Any], *, content: bool, ranks: Ranks = ALONE) -> list[Path] | None:
    """The files that are no longer as they were made: missing, of another size or, with `content`, of another digest.

    described: what `write` returned. A list that is lost or damaged is made again from the files; None: it comes out
    otherwise, so nobody can tell which of them are still good. ranks: the processes that share the reading.
    """
    path = folder / OUTPUTS
    if not path.is_file() or sha256_file(path) != described.get("sha256"):
        again = write(folder, leave_out=described.get("left_out", ()))
        return [] if again == described else None
    lines = [line.split("  ", 2) for line in path.read_text(encoding="ascii").splitlines()]
    entries = [(digest, size, _unescaped(name)) for digest, size, name in lines]
    sizes = _sizes(folder)
    wrong = [folder / name for _, size, name in entries if sizes.get(name) != int(size)]
    if not content:
        return wrong
    missing = set(wrong)
    rest = ranks.share([(digest, folder / name) for digest, _, name in entries if folder / name not in missing])
    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(lambda entry: sha256_file(entry[1]), rest))
    differ = [str(where) for (digest, where), now in zip(rest, digests, strict=True) if digest != now]
    others = {name for names in ranks.gather(differ) for name in names}
    return wrong + [folder / name for _, _, name in entries if str(folder / name) in others]


def is_as_made(folder: Path, described: dict[str, Any], name: str) -> bool:
    """Whether a file of the folder is as it was made, by its digest; described: what `write` returned."""
    path = folder / OUTPUTS
    try:
        if sha256_file(path) != described.get("sha256"):
            return False
        lines = [line.split("  ", 2) for line in path.read_text(encoding="ascii").splitlines()]
        digests = {_unescaped(where): digest for digest, _, where in lines}
        return digests.get(name) == sha256_file(folder / name)
    except (OSError, UserError):
        return False


def _escaped(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")


def _unescaped(name: str) -> str:
    return name.encode("ascii").decode("unicode_escape")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if path.is_file() and not path.is_symlink() and inside[0] not in VOLATILE and not is_unfinished(path):
            yield path


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of every regular file below a folder, by its path from there. Links are followed, once."""
    sizes: dict[str, int] = {}
    seen: set[str] = set()
    below = [""]
    while below:
        start = below.pop()
        real = os.path.realpath(folder / start)
        if real in seen:
            continue
        seen.add(real)
        with suppress(OSError), os.scandir(folder / start) as entries:
            for entry in entries:
                with suppress(OSError):  # gone meanwhile, or a link to nowhere
                    if entry.is_dir():
                        below.append(f"{start}{entry.name}/")
                    elif entry.is_file():
                        sizes[f"{start}{entry.name}"] = entry.stat().st_size
    return sizes
