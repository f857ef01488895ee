"""Downloads that survive cut connections, full disks and wrong bytes.

A download grows as `NAME.part` beside its final place and is taken up again where it stopped, in this run or a later
one, from the same address or a mirror: the bytes are the same wherever they come from, which the checksum proves at
the end. Only then does the file get its name.

Where a file has several addresses each gets a short try first: one that refuses, breaks off twice or is slow makes way
for the next. If none gives the file, those that may still do so are asked again with patience.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.lock import exclusive
from semples.core.progress import counter
from semples.core.systems import replace

MEGABYTE = 1_000_000
BLOCK = 1 << 18  # bytes read at a time
TIMEOUT = 30.0  # seconds without a byte
TRIES = 5  # at one address, without a single new byte
HURRIED_TRIES = 2  # where other addresses are left
SLOW = 150_000  # bytes a second; an address below makes way for another
SLOW_AFTER = 60.0  # seconds before that is judged
SLACK = 2  # a server may send this many times the size of a file, not more


@dataclass(frozen=True)
class Remote:
    """A file to download: its name, the MD5 of its bytes, how many there are, and where it lies."""

    name: str
    md5: str
    size: int
    urls: tuple[str, ...]


class _Failed(Exception):
    """An address does not give the file; the message is the reason."""


class _Weak(_Failed):
    """An address breaks off, does not answer or is slow; it may still give the file to whoever is patient."""


class _Cut(Exception):
    """A transfer broke off and can be taken up again; the message is the reason."""


def fetch(
    remote: Remote,
    folder: Path,
    *,
    mirrors: Sequence[str] = (),
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """The file `remote` in `folder`, downloaded unless it is there; checked by its MD5 either way.

    `mirrors` are addresses of folders that hold files of the same names; they are asked first. `wait` sleeps that many
    seconds between two tries. Raises UserError where no address gives the right bytes or the disk is full; what has
    arrived stays and is taken up by the next call.
    """
    target = folder / remote.name
    if target.is_file():
        return _fetch_checked(target, remote)
    with exclusive(folder, what="another download", keep=False):
        return _fetch(remote, folder, mirrors, wait)


def _fetch(remote: Remote, folder: Path, mirrors: Sequence[str], wait: Callable[[float], None]) -> Path:
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.is_file():  # another program has brought it meanwhile
        return _fetch_checked(target, remote)
    _check_space(folder, remote.size - _size(part), remote.name)
    addresses = [*(f"{mirror.rstrip('/')}/{remote.name}" for mirror in mirrors), *remote.urls]
    reasons: dict[str, str] = {}
    for hurried in (True, False) if len(addresses) > 1 else (False,):
        weak = []
        for url in addresses:
            try:
                _transfer(url, part, remote, wait, hurried=hurried)
            except _Failed as reason:
                reasons[url] = str(reason)
                if isinstance(reason, _Weak):
                    weak.append(url)
                continue
            digest = _md5(part, remote.name)
            if digest == remote.md5:
                with disk_trouble(target):
                    replace(part, target)
                    _remember(target, remote.md5)
                return target
            part.unlink(missing_ok=True)  # nothing tells which of its bytes are wrong
            reasons[url] = f"the MD5 of its bytes is {digest}, not {remote.md5}"
        addresses = weak
    told = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
    raise UserError(
        f"{remote.name}: no address gave it ({told}); try again later (what has arrived is kept), name another "
        f"mirror, or put the file into {folder} yourself"
    )


def _fetch_checked(target: Path, remote: Remote) -> Path:
    if is_genuine(target, remote.md5):
        return target
    raise UserError(f"{target}: its MD5 is not {remote.md5}; damaged or another version; remove it and try again")


def is_genuine(path: Path, md5: str) -> bool:
    """Whether a file has that MD5; remembered beside it (`NAME.md5.json`), so that an unchanged file is read once."""
    note = _note(path)
    with suppress(UserError):  # a damaged note: the file itself tells
        if note.is_file() and read_json(note) == _mark(path, md5):
            return True
    if _md5(path, path.name) != md5:
        return False
    with suppress(OSError, UserError):  # someone else's folder, a full disk: it is read again next time
        _remember(path, md5)
    return True


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.md5.json")


def _mark(path: Path, md5: str) -> dict[str, int | str]:
    stat = path.stat()
    return {"md5": md5, "size": stat.st_size, "changed_ns": stat.st_mtime_ns}


def _remember(path: Path, md5: str) -> None:
    write_json(_note(path), _mark(path, md5))


def _md5(path: Path, label: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    total = _size(path) // MEGABYTE
    with disk_trouble(path), open(path, "rb") as file, counter(label=f"checking {label} (MB)", total=total) as advance:
        beat = _Beat(advance)
        while block := file.read(BLOCK):
            digest.update(block)
            beat.add(len(block))
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Beat:
    """Turns bytes into whole megabytes of progress."""

    def __init__(self, advance: Callable[[str], None], start: int = 0) -> None:
        self.advance, self.bytes = advance, start

    def add(self, count: int) -> None:
        before, self.bytes = self.bytes // MEGABYTE, self.bytes + count
        for _ in range(self.bytes // MEGABYTE - before):
            self.advance("")


def _check_space(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {name} needs {needed / 1e9:.1f} GB more, only {free / 1e9:.1f} GB are free; free some space or "
            "choose a folder on another disk"
        )


# -------------------------------------------------------------------------------------------------------- transfer


def _transfer(url: str, part: Path, remote: Remote, wait: Callable[[float], None], *, hurried: bool) -> None:
    """Bring `part` to its full length from `url`, taking up what is there. Raises _Failed; `hurried`: sooner."""
    if not url.startswith(("http://", "https://")):
        raise _Failed("not an http or https address")
    tries, limit = 0, HURRIED_TRIES if hurried else TRIES
    with counter(label=f"{remote.name} (MB)", total=remote.size // MEGABYTE, done=_size(part) // MEGABYTE) as advance:
        while True:
            before = _size(part)
            try:
                _continue(url, part, size=remote.size, beat=_Beat(advance, before), hurried=hurried)
            except _Cut as cut:
                tries = 0 if _size(part) > before else tries + 1
                if tries >= limit:
                    raise _Weak(str(cut)) from None
                wait(min(30.0, 2.0**tries))
            else:
                return


def _continue(url: str, part: Path, *, size: int, beat: _Beat, hurried: bool) -> None:
    """Ask for the rest of `part` once. Raises _Cut where it breaks off and _Failed where asking again is no use.

    What has arrived is given up only for a file of the known `size`: a page that says "moved" must not replace it.
    """
    have, limit = _size(part), SLACK * size + MEGABYTE
    headers = {"User-Agent": "semples", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            start, total = _place(answer, have)
            if total is not None and total > limit:
                raise _Failed(f"it offers {total} bytes, far more than the file has")
            if start < have and total != size:
                raise _Failed("it would start over with another file; what has arrived is kept")
            _append(answer, part, start, limit, beat, hurried=hurried)
            arrived = _size(part)
            if total is not None and arrived < total:
                raise _Cut(f"the connection broke off after {arrived} of {total} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if whole is not None and int(whole[1]) == have:
                return  # all of it had arrived
            if have < size:
                raise _Failed("it has another file of that name; what has arrived is kept") from None
            part.unlink(missing_ok=True)
            raise _Cut("it has fewer bytes than had arrived") from None
        if error.code in (408, 429) or error.code >= 500:
            raise _Cut(f"the server answers {error.code} {error.reason}") from None
        raise _Failed(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Cut(f"no connection ({error.reason})") from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Cut(f"the connection broke off ({str(error) or type(error).__name__})") from None


def _place(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the answer's first byte belongs, and the whole file's length where the server tells it."""
    length = answer.headers.get("Content-Length", "")
    if answer.status == 206:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if told is None or int(told[1]) != have:
            raise _Failed("it answers with another part of the file than asked for")
        return have, None if told[2] == "*" else int(told[2])
    return 0, int(length) if length.isdecimal() else None  # the server starts over


def _append(
    answer: http.client.HTTPResponse, part: Path, start: int, limit: int, beat: _Beat, *, hurried: bool
) -> None:
    begun = time.monotonic()
    _refuse_special(part)
    with disk_trouble(part), open(part, "r+b" if start else "wb") as file:
        file.seek(start)
        arrived = start
        while block := answer.read1(BLOCK):
            arrived += len(block)
            if arrived > limit:
                raise _Failed("it sends far more bytes than the file has")
            file.write(block)
            beat.add(len(block))
            seconds = time.monotonic() - begun
            if hurried and seconds > SLOW_AFTER and arrived - start < SLOW * seconds:
                raise _Weak(f"slow, {(arrived - start) / seconds / 1000:.0f} kB a second")
        file.flush()
        os.fsync(file.fileno())


def _refuse_special(part: Path) -> None:
    """What grows is a file, never what a link or a pipe of its name leads to."""
    if os.path.lexists(part) and (part.is_symlink() or not part.is_file()):
        raise UserError(f"{part}: a link or a pipe, not a file; delete it")
