"""Commands as processes of their own that something happens to.

A process is forked from one that has everything imported, so that a try costs what the command costs and not the
import of torch. It is a real process: it has its own signals, limits and end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests import tiny

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.truncate")
PATIENCE = 120.0  # seconds until a command is taken to hang

Fault = Callable[[int], None]
Person = Callable[[str], None]  # uses the page at an address until there is nothing left to do
ADDRESS = re.compile(r"open (http://[0-9.:]+)")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: a signal; None: it hung), what it printed, and how often it
    changed something below the watched folder. seen: what a person found wrong with the page that it served."""

    code: int | None
    out: str
    err: str
    changes: int
    seen: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines with which the program speaks of an error."""
        return [line for line in self.err.splitlines() if line.startswith("semples: ")]


def import_everything() -> None:
    """What commands import, once, before the first fork."""
    import skimage.segmentation  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import semples.app.review
    import semples.cli
    import semples.export.coco
    import semples.inspect.report
    import semples.prediction
    import semples.segmenter.build
    import semples.segmenter.vit
    import semples.terminal
    import semples.training.loop  # noqa: F401

    torch.set_num_threads(1)


def command(
    *arguments: str | Path,
    watched: Path,
    fault: Fault | None = None,
    file_size: int | None = None,
    patience: float = PATIENCE,
    logs: Path | None = None,
    person: Person | None = None,
) -> Ended:
    """Run `semples` with these arguments.

    `fault` is called in the process with the number (from 1) of every change it is about to make below `watched`: a
    file opened for writing, renamed, removed, a folder made. `file_size`: no file may grow beyond so many bytes.
    `logs`: folder for what it prints, default beside `watched`. `person`: uses the page that the command serves, and
    then ends it.
    """
    logs = logs or Path(f"{watched}.logs")
    logs.mkdir(exist_ok=True)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _be_the_command(list(map(os.fspath, arguments)), watched, logs, fault, file_size)
    ended, seen = threading.Event(), list[str]()
    beside = threading.Thread(target=_use, args=(process, logs, person, ended, seen))
    if person is not None:
        beside.start()
    code = _wait(process, patience)
    ended.set()
    if person is not None:
        beside.join()
    texts = [(logs / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
    changes = logs / "changes"
    return Ended(
        code, *texts, changes=int(changes.read_text(encoding="utf-8")) if changes.exists() else 0, seen="; ".join(seen)
    )


def _use(process: int, logs: Path, person: Person, ended: threading.Event, seen: list[str]) -> None:
    """Let a person use the page that a process serves; then the process is told to end."""
    said = None
    while said is None and not ended.wait(0.05):
        said = (
            ADDRESS.search((logs / "out").read_text(encoding="utf-8", errors="replace"))
            if (logs / "out").exists()
            else None
        )
    if said is not None:
        try:
            person(said[1])
        except (httpx.HTTPError, OSError):  # the page may be killed at any moment
            pass
        except Exception as error:  # noqa: BLE001 (it would be lost with the thread)
            seen.append(f"{type(error).__name__}: {error}")
    if not ended.is_set():
        os.kill(process, signal.SIGTERM)


def _wait(process: int, patience: float) -> int | None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _be_the_command(
    arguments: list[str], watched: Path, logs: Path, fault: Fault | None, file_size: int | None
) -> None:
    import torch

    code = 70
    try:
        os.setsid()
        (logs / "changes").unlink(missing_ok=True)
        _redirect(logs)
        os.environ.update(tiny.environment() | {"SEMPLES_CACHE": f"{watched}/cache"})
        for number in (signal.SIGINT, signal.SIGHUP):  # whoever started the tries may have had them ignored (nohup)
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        torch.set_num_threads(1)  # a pool of before the fork is made anew, which two threads at once would trip over
        sys.argv = ["semples", *arguments]
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        watch = _Watch(os.fspath(watched), fault)
        sys.addaudithook(watch)
        code = _main()
        watch.is_on = False
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        if file_size is None:
            (logs / "changes").write_text(str(watch.count), encoding="utf-8")
    except BaseException:  # noqa: BLE001 (whatever it is, it must not leave this process)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


def _main() -> int:
    from semples.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        traceback.print_exc()
        return 1
    return 0


def _redirect(logs: Path) -> None:
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
        os.close(handle)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), encoding="utf-8", write_through=False)  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), encoding="utf-8", line_buffering=True)  # noqa: SIM115


class _Watch:
    """Counts what changes below a folder, and lets the fault happen before it does."""

    def __init__(self, folder: str, fault: Fault | None) -> None:
        self.folder, self.fault, self.count, self.is_on = folder, fault, 0, True

    def __call__(self, event: str, arguments: Sequence[Any]) -> None:
        if not self.is_on or not (event in CHANGES or (event == "open" and _writes(arguments))):
            return
        path = arguments[0]
        path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if path.startswith(self.folder):
            self.count += 1
            if self.fault is not None:
                self.fault(self.count)


def _writes(arguments: Sequence[Any]) -> bool:
    _, mode, flags = arguments
    return any(sign in (mode or "") for sign in "wax+") or bool(
        isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )


def signal_at(moment: int, number: int) -> Fault:
    """Send the process a signal when it is about to make its `moment`-th change."""

    def fault(count: int) -> None:
        if count == moment:
            os.kill(os.getpid(), number)

    return fault


def full_from(moment: int, *, code: int = errno.ENOSPC) -> Fault:
    """From its `moment`-th change on the disk takes nothing more (for machines on which none can be mounted)."""

    def fault(count: int) -> None:
        if count >= moment:
            raise OSError(code, os.strerror(code))

    return fault
