"""What a hostile case is, and what the cases share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.robust.child import Ended, Person, command
from tests.robust.world import Material, complaint

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
PATIENCE = 60.0
FINE, REFUSED, EITHER = (0,), (2,), (0, 1, 2)
Arguments = list[str | Path]
Commands = list[tuple[Any, tuple[int, ...]]]  # arguments, or what gives them when it is their turn; statuses


def nothing(work: Path, ended: list[Ended]) -> str | None:
    return None


@dataclass(frozen=True)
class Case:
    """Something hostile: `prepare` puts it into a folder and answers with the commands; `check` looks at the folder
    afterwards. `person`: somebody in front of the pages that commands serve."""

    states: tuple[str, ...]
    prepare: Callable[[Path], Commands]
    check: Callable[[Path, list[Ended]], str | None] = nothing
    person: Person | None = None

    def __call__(self, material: Material, work: Path) -> str | None:
        material.place(work, *self.states)
        ended = []
        for given, codes in self.prepare(work):
            arguments = given() if callable(given) else given
            person = self.person if arguments[0] == "app" else None
            patience = PATIENCE if person is None else 4 * PATIENCE
            done = command(*arguments, watched=work, patience=patience, person=person)
            ended.append(done)
            unsafe = UNSAFE.search(done.out + done.err)
            wrong = complaint(done, codes=codes) or (f"prints {unsafe[0]!a}" if unsafe else None)
            if wrong:
                return f"{os.fspath(arguments[0])}: {wrong}"
        return self.check(work, ended)


Cases = Iterator[tuple[str, Case]]
QUICK = tuple(
    word for stage in ("warmup", "matching", "prompting", "refinement") for word in ("--set", f"{stage}.epochs=0")
)


def photos_of(work: Path) -> Path:
    """A folder of its own with three honest photos, and their tags."""
    folder = work / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / f"{name}.png")
    rows = ["image,tags", "a.png,disc", "b.png,square", "c.png,disc;square"]
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def run_of(work: Path, folder: Path, *more: str) -> Arguments:
    return ["run", work / "robust.yaml", "--data", folder, "--out", work / "new", "--set", "data.split=''", *more]


def again(work: Path) -> Arguments:
    return ["run", work / "robust.yaml", "--data", work / "world", "--out", work / "run"]


def counted(folder: Path, count: int) -> str | None:
    files = len(list(folder.glob("*.png")))
    return None if files == count else f"{files} files in {folder.name}, not {count}"
