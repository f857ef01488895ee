"""What a try is, and the tries of two kinds: kills and full disks. The others: `damage`, `hostile`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.robust.child import Ended, full_from, signal_at
from tests.robust.jobs import JOBS, Job
from tests.robust.world import PAGE, Material, complaint, difference, leftovers

SEED = 20240229
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)


@dataclass(frozen=True)
class Try:
    """One attempt: its kind, its name, and what does it in an empty folder; it answers with what went wrong."""

    kind: str
    name: str
    attempt: Callable[[Material, Path], str | None]


# -------------------------------------------------------------------------------------------------------------- kills

KILLS = {
    "run": 74, "segment": 22, "label": 16, "cams": 10, "regions": 10, "predict": 22, "report": 4, "coco": 8, "voc": 8,
    "cvat": 4, "gallery": 6, "import": 14, "eval": 4, "prompts": 4, "check": 4, "onnx": 4,
    "update": 20, "correct": 8, "takeback": 4, "review": 14, "words": 4, "plan": 2, "relabel": 8, "combine": 8,
    "compare": 4, "bank": 8, "bankpredict": 8,
}  # fmt: skip


def _made(counts: dict[str, int], material: Material) -> list[tuple[str, int]]:
    """How many tries of every command that the material has."""
    return [(name, count) for name, count in counts.items() if name in material.changes]


def kills(material: Material) -> Iterator[Try]:
    """Every command ended by SIGKILL, SIGTERM or SIGHUP before changes spread over all that it makes on the disk."""
    draw = random.Random(SEED)
    for name, count in _made(KILLS, material):
        total = material.changes[name]
        moments = sorted(draw.sample(range(1, total + 1), min(count, total)))
        for place, moment in enumerate(moments):
            number = SIGNALS[place % len(SIGNALS)]
            title = f"{name} {signal.Signals(number).name} {moment} of {total}"
            yield Try("kill", title, _Kill(JOBS[name], moment, number))


@dataclass(frozen=True)
class _Kill:
    job: Job
    moment: int
    number: int

    def __call__(self, material: Material, work: Path) -> str | None:
        material.place(work, *self.job.starts)
        ended = self.job(work, fault=signal_at(self.moment, self.number))
        wrong = self._ended_badly(ended) or (leftovers(work) if self.number != signal.SIGKILL else None)
        if wrong:
            return f"after the signal: {wrong}"
        return _goes_on(self.job, material, work)

    def _ended_badly(self, ended: Ended) -> str | None:
        if self.number == signal.SIGKILL:
            return None if ended.code == -signal.SIGKILL else complaint(ended, codes=(-signal.SIGKILL,))
        return complaint(ended, codes=(128 + self.number, 0))  # 0: all was done when the signal came


WHOLE = ("coco", "voc", "cvat", "gallery", "import", "takeback")  # what is whole is not made over again


def _goes_on(job: Job, material: Material, work: Path) -> str | None:
    """The same command once more: it must end well, with everything as if nothing had happened."""
    out = work / job.result  # an export that was whole when the program was ended need not be made again
    if job.name in WHOLE and out.is_dir() and difference(job, material, work) is None:
        return _left(work)
    again = job(work)
    wrong = complaint(again, codes=(0,)) or difference(job, material, work)
    return f"the same command: {wrong}" if wrong else _left(work)


def _left(work: Path) -> str | None:
    left = leftovers(work)
    return f"left behind: {left[:3]}" if left else None


# --------------------------------------------------------------------------------------------------------- full disks

DISKS = {
    "run": 12, "segment": 6, "label": 5, "cams": 4, "regions": 4, "predict": 6, "report": 4, "coco": 4, "voc": 4,
    "cvat": 3, "gallery": 4, "import": 5, "eval": 3, "prompts": 2, "check": 2, "onnx": 3,
    "update": 4, "correct": 4, "takeback": 2, "review": 4, "words": 2, "plan": 1, "relabel": 3, "combine": 3,
    "compare": 2, "bank": 3, "bankpredict": 3,
}  # fmt: skip


def disks(material: Material) -> Iterator[Try]:
    """Every command on a disk that is full after a part of what it writes; then on one with room."""
    for name, count in _made(DISKS, material):
        for place in range(count):
            yield Try("full disk", f"{name} {place + 1} of {count}", _Disk(JOBS[name], place / count))


@dataclass(frozen=True)
class _Disk:
    job: Job
    share: float

    def __call__(self, material: Material, work: Path) -> str | None:
        logs = Path(f"{work}.logs")
        room = int(max(material.bytes[self.job.name], 12 * PAGE) * self.share)
        with_mount = _mount(work)
        try:
            inside = material.place(work / "disk", *self.job.starts)
            if with_mount:
                stuffing = _fill(work, leave=room)
                ended = self.job(inside, logs=logs)
                stuffing.unlink()
            else:
                moment = 1 + int(material.changes[self.job.name] * self.share)
                ended = self.job(inside, fault=full_from(moment))
            wrong = complaint(ended, codes=(2, 1) if not with_mount else (2, 0))
            if wrong is None and ended.code and "the disk is full" not in ended.lines[0]:
                wrong = f"does not name the disk: {ended.lines[0][:200]}"
            if wrong:
                return f"on the full disk: {wrong}"
            return _goes_on(self.job, material, inside)
        finally:
            if with_mount:
                subprocess.run(["umount", "-l", work], check=False)


def _mount(work: Path) -> bool:
    """A small disk of its own at `work`, where this machine lets us."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", work], check=False, capture_output=True
    )
    return mounted.returncode == 0


def _fill(disk: Path, *, leave: int) -> Path:
    """A file that leaves `leave` bytes (in whole pages)."""
    path = disk / "stuffing"
    space = os.statvfs(disk)
    pages = max(0, space.f_bavail - leave // space.f_frsize)
    with open(path, "wb") as file:
        file.write(bytes(pages * space.f_frsize))
    return path
