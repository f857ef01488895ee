"""Files that somebody has damaged: the same commands bring them back to the same bytes, or say what is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import tiny
from tests.robust.jobs import JOBS, Job
from tests.robust.tries import Try
from tests.robust.world import Material, complaint, contents, difference


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
MADE = {  # what other commands make: of every pattern the first file
    "predict": ("labels/*.png", "overlays/*", "areas.csv", "classes.txt", "photos.jsonl", "prediction.json"),
    "bankpredict": ("labels/*.png", "confidence/*.png", "overlays/*"),
    "bank": ("labels/bank*", "labels/train*.png"),
    "correct": ("corrections/index.json", "corrections/maps/*.png"),
    "relabel": ("relabelled/*.png", "relabelled/confidence/*.png", "relabelled/*.json"),
    "combine": ("combined/*.png", "combined/confidence/*.png", "combined/*.json"),
}


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
    for command, patterns in MADE.items():
        if command in material.changes:
            result = material.folder / "results" / command / JOBS[command].result
            for pattern in patterns:
                path = sorted(result.glob(pattern))[0].relative_to(result)
                for how in DAMAGES:
                    yield Try("damage", f"{command}, {path.as_posix()} {how}", _DamageTo(JOBS[command], path, how))


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
            wrong = complaint(JOBS[name](work), codes=(0,))
            if wrong:
                return f"{name}: {wrong}"
        wanted = contents(material.folder / "states" / "finished")
        made = contents(work / "run")
        unequal = sorted(name for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name))
        return f"not healed: {unequal[:3]}" if unequal else None


@dataclass(frozen=True)
class _DamageTo:
    job: Job
    name: Path
    how: str

    def __call__(self, material: Material, work: Path) -> str | None:
        material.place(work, *self.job.starts)
        wrong = complaint(self.job(work), codes=(0,))
        if wrong:
            return f"before: {wrong}"
        path = work / self.job.result / self.name
        damaged = DAMAGES[self.how](path.read_bytes())
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        return complaint(self.job(work), codes=(0,)) or difference(self.job, material, work)
