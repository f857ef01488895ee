"""What a try is, and the tries of three kinds: kills, full disks, damage. The fourth, hostile files: `hostile`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import tiny
from tests.robust.child import Ended, command, full_from, signal_at
from tests.robust.world import JOBS, PAGE, Job, Material, complaint, contents, difference, leftovers

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
        arguments = self.job.arguments(work)
        ended = command(*arguments, watched=work, fault=signal_at(self.moment, self.number))
        wrong = self._ended_badly(ended) or (leftovers(work) if self.number != signal.SIGKILL else None)
        if wrong:
            return f"after the signal: {wrong}"
        return _goes_on(self.job, material, work)

    def _ended_badly(self, ended: Ended) -> str | None:
        if self.number == signal.SIGKILL:
            return None if ended.code == -signal.SIGKILL else complaint(ended, codes=(-signal.SIGKILL,))
        return complaint(ended, codes=(128 + self.number, 0))  # 0: all was done when the signal came


WHOLE = ("coco", "voc", "cvat", "gallery", "import")  # what is whole is not made over again


def _goes_on(job: Job, material: Material, work: Path) -> str | None:
    """The same command once more: it must end well, with everything as if nothing had happened."""
    if job.result not in (*job.starts, "run"):
        out = work / job.result  # an export that was whole when the program was ended need not be made again
        if job.name in WHOLE and out.is_dir() and difference(job, material, work) is None:
            return _left(work)
    again = command(*job.arguments(work), watched=work)
    wrong = complaint(again, codes=(0,)) or difference(job, material, work)
    return f"the same command: {wrong}" if wrong else _left(work)


def _left(work: Path) -> str | None:
    left = leftovers(work)
    return f"left behind: {left[:3]}" if left else None


# --------------------------------------------------------------------------------------------------------- full disks

DISKS = {
    "run": 12, "segment": 6, "label": 5, "cams": 4, "regions": 4, "predict": 6, "report": 4, "coco": 4, "voc": 4,
    "cvat": 3, "gallery": 4, "import": 5, "eval": 3, "prompts": 2, "check": 2, "onnx": 3,
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
                ended = command(*self.job.arguments(inside), watched=inside, logs=logs)
                stuffing.unlink()
            else:
                moment = 1 + int(material.changes[self.job.name] * self.share)
                ended = command(*self.job.arguments(inside), watched=inside, fault=full_from(moment))
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


# ------------------------------------------------------------------------------------------------------------- damage


def _empty(data: bytes) -> bytes | None:
    return b""


def _halve(data: bytes) -> bytes | None:
    return data[: len(data) // 2]


def _delete(data: bytes) -> bytes | None:
    return None


def _flip(data: bytes) -> bytes | None:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


DAMAGES = {"emptied": _empty, "halved": _halve, "deleted": _delete, "flipped": _flip}
DAMAGED_FILES = 39


def damages(material: Material) -> Iterator[Try]:
    """Files of a finished run with its segmenter, each emptied, halved, deleted, with one bit flipped."""
    run = material.folder / "states" / "finished"
    files = sorted(
        path.relative_to(run).as_posix()
        for path in run.rglob("*")
        if path.is_file() and path.name not in tiny.PASSING and "tensorboard" not in path.parts
        and path.stat().st_size > 1
    )  # fmt: skip
    files.sort(key=lambda name: -(run / name).stat().st_size)  # weights before lists
    for name in _spread(files, DAMAGED_FILES):
        for how in DAMAGES:
            yield Try("damage", f"{name} {how}", _Damage(name, how))


def _spread(files: list[str], count: int) -> list[str]:
    """`count` files, of every step equally many as far as it goes; within a step of every folder and suffix first."""
    steps: dict[str, dict[str, list[str]]] = {}
    for name in files:
        kinds = steps.setdefault(name.partition("/")[0] if "/" in name else "", {})
        kinds.setdefault(f"{os.path.dirname(name)} {os.path.splitext(name)[1]}", []).append(name)
    ordered = _in_turn([_in_turn(list(kinds.values())) for kinds in steps.values()])
    return ordered[:count]


def _in_turn(groups: list[list[str]]) -> list[str]:
    """The first of every group, then the second of every group, and so on."""
    longest = max(map(len, groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


@dataclass(frozen=True)
class _Damage:
    name: str
    how: str

    def __call__(self, material: Material, work: Path) -> str | None:
        material.place(work, "finished")
        (work / "finished").rename(work / "run")
        path = work / "run" / self.name
        damaged = DAMAGES[self.how](path.read_bytes())
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        for name in ("run", "segment"):
            ended = command(*JOBS[name].arguments(work), watched=work)
            wrong = complaint(ended, codes=(0,))
            if wrong:
                return f"{name}: {wrong}"
        wanted = contents(material.folder / "states" / "finished")
        made = contents(work / "run")
        unequal = sorted(name for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name))
        return f"not healed: {unequal[:3]}" if unequal else None
