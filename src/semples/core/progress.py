"""Progress of long work on standard error: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from semples.core.plain import plain

T = TypeVar("T")

PLAIN_SECONDS = 10.0  # between two plain lines


def track(iterable: Iterable[T], *, label: str, total: int | None = None) -> Iterator[T]:
    """Yield from `iterable` while showing how far it is and how long it will still take.

    `total` is needed for the estimate when the iterable has no length.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with counter(label=label, total=total) as advance:
        for element in iterable:
            yield element
            advance("")


@contextmanager
def counter(*, label: str, total: int | None, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Yield `advance(note)`, to be called once per finished piece; `note` (a loss, a file) stands beside the bar.

    `done` pieces count as finished from the start (a resumed run) and do not enter the time estimate.
    """
    if sys.stderr.isatty():
        with _live_bar(label, total, done) as advance:
            yield advance
    else:
        yield _PlainLines(label, total, done).advance


@contextmanager
def _live_bar(label: str, total: int | None, done: int) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(plain(label), total=total, completed=done, note="")
        yield lambda note: progress.update(task, advance=1, note=plain(note))


class _PlainLines:
    """Writes `label: 120/500, 3 min left, note` at most every PLAIN_SECONDS and once at the end."""

    def __init__(self, label: str, total: int | None, done: int) -> None:
        self.label, self.total, self.done, self.start_done = label, total, done, done
        self.start = self.last = time.monotonic()

    def advance(self, note: str) -> None:
        self.done += 1
        now = time.monotonic()
        finished = self.done == self.total
        if now - self.last < PLAIN_SECONDS and not (finished and now - self.start > PLAIN_SECONDS):
            return
        self.last = now
        parts = [f"{self.label}: {self.done}" + (f"/{self.total}" if self.total else "")]
        if self.total and not finished:
            seconds = (now - self.start) / (self.done - self.start_done) * (self.total - self.done)
            parts.append(f"{duration(seconds)} left")
        if note:
            parts.append(note)
        print(plain(", ".join(parts)), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A length of time as people say it: `8 s`, `3 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
