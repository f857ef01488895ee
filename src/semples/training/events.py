"""What happened during training, one JSON object a line; TensorBoard gets the same numbers where it is installed."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semples.core.files import append_to, read_file, write_text

TIMES = "times.jsonl"


class EventLog:
    """Appends to `events.jsonl` in `folder`; lines after `first_step` (of a run that was cut) go first."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self.path = folder / "events.jsonl"
        kept = [line for line in read_lines(self.path) if line["step"] <= first_step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.times = folder / TIMES
        kept = [line for line in read_lines(self.times) if line["step"] <= first_step]
        write_text(self.times, "".join(json.dumps(line) + "\n" for line in kept))
        self._last = time.monotonic()
        self._board = _tensorboard(folder / "tensorboard", first_step)

    def write(self, event: dict[str, Any]) -> None:
        """`event` has `step` and numbers; written and flushed at once."""
        with append_to(self.path) as file:
            file.write(json.dumps(event) + "\n")
        if self._board is not None:
            for name, value in event.items():
                if name != "step":
                    self._board.add_scalar(name, value, event["step"])

    def write_time(self, step: int, *, waited: float) -> None:
        """Seconds since this was last called, and how many of them went by waiting for photos: beside the events, which
        are the same whenever and wherever they are made."""
        now = time.monotonic()
        line = {"step": step, "seconds": round(now - self._last, 3), "waited": round(waited, 3)}
        self._last = now
        with append_to(self.times) as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            self._board.add_scalar("time/waited", line["waited"], step)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


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


def _tensorboard(folder: Path, first_step: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)
