"""What happened during training, one JSON object a line; trackers (`run.trackers`) get the same numbers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semples.core.files import append_to, read_file, write_text
from semples.training.trackers import Event, Sink

TIMES = "times.jsonl"


class EventLog:
    """Appends to `events.jsonl` in `folder`; lines after `first_step` (of a run that was cut) go first.

    sinks: makes, of the events that stay, what takes each further one as well.
    """

    def __init__(
        self, folder: Path, *, first_step: int, sinks: Callable[[Sequence[Event]], Sequence[Sink]] = lambda kept: ()
    ) -> None:
        self.path = folder / "events.jsonl"
        kept = [line for line in read_lines(self.path) if line["step"] <= first_step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.times = folder / TIMES
        timed = [line for line in read_lines(self.times) if line["step"] <= first_step]
        write_text(self.times, "".join(json.dumps(line) + "\n" for line in timed))
        self._last = time.monotonic()
        self._waited: dict[str, float] = {}
        self._sinks = sinks(kept)

    def write(self, event: dict[str, Any]) -> None:
        """`event` has `step` and numbers; written and flushed at once."""
        with append_to(self.path) as file:
            file.write(json.dumps(event) + "\n")
        for sink in self._sinks:
            sink.write(event | self._waited)

    def write_time(self, step: int, *, waited: float) -> None:
        """Seconds since this was last called, and how many of them went by waiting for photos: beside the events, which
        are the same whenever and wherever they are made; trackers get it with the next event."""
        now = time.monotonic()
        line = {"step": step, "seconds": round(now - self._last, 3), "waited": round(waited, 3)}
        self._last = now
        with append_to(self.times) as file:
            file.write(json.dumps(line) + "\n")
        self._waited = {"time/waited": line["waited"]}

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


def times(folder: Path) -> tuple[float, float]:
    """Seconds that a training in this folder took so far, and how many of them it waited for photos; zeros for none."""
    lines = read_lines(folder / TIMES, numbers=("step", "seconds", "waited"))
    return sum(line["seconds"] for line in lines), sum(line["waited"] for line in lines)


def read_lines(path: Path, *, numbers: Sequence[str] = ("step",)) -> list[dict[str, Any]]:
    """Events so far, up to a line that was cut off by a crash or damaged: one without these `numbers`."""
    if not path.is_file():
        return []
    events = []
    for line in read_file(path).decode("utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(event, dict) or not all(isinstance(event.get(name), int | float) for name in numbers):
            break
        events.append(event)
    return events
