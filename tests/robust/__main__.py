"""`python -m tests.robust --out DIR`: everything that may happen to the program, tried; a table of what went wrong.

Each try leaves a file in DIR/tries; a second call goes on where the first was cut. `--again` repeats those that went
wrong. Full disks need the right to mount one (root); elsewhere the system's refusal is put in by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.robust.child import import_everything
from tests.robust.damage import damages
from tests.robust.hostile import hostile
from tests.robust.jobs import JOBS
from tests.robust.tries import Try, disks, kills
from tests.robust.world import Material, make_material

LONGEST = 150  # signs of a try's file name
KINDS: dict[str, Callable[[Material], Iterator[Try]]] = {
    "kill": kills,
    "full disk": disks,
    "damage": damages,
    "hostile": hostile,
}


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 1 where something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.robust")
    parser.add_argument("--out", type=Path, required=True, help="folder for the material, the tries and the table")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of tries, parted by commas")
    parser.add_argument("--commands", default=",".join(JOBS), help="commands that are killed and get full disks")
    parser.add_argument("--only", default="", help="a pattern that the names of tries have to match")
    parser.add_argument("--share", type=int, default=1, help="every n-th try alone")
    parser.add_argument("--most", type=int, help="no more than so many, spread over all")
    parser.add_argument("--jobs", type=int, default=2, help="tries at once")
    parser.add_argument("--again", action="store_true", help="repeat the tries that went wrong")
    parser.add_argument("--minutes", type=float, default=90, help="no new try is begun after so long")
    options = parser.parse_args(arguments)
    out: Path = options.out.resolve()
    import_everything()
    material = make_material(out / "material", options.commands.split(","))
    chosen = [
        attempt
        for kind in options.kinds.split(",")
        for attempt in list(KINDS[kind](material))[:: options.share]
        if re.search(options.only, attempt.name)
    ]
    if options.most is not None and len(chosen) > options.most:
        chosen = [chosen[place * len(chosen) // options.most] for place in range(options.most)]
    deadline = time.monotonic() + 60 * options.minutes
    workers = [
        _start(material, chosen[job :: options.jobs], out, job, options, deadline) for job in range(options.jobs)
    ]
    for worker in workers:
        os.waitpid(worker, 0)
    results = {attempt: _stored(out, attempt) for attempt in chosen}
    return _report(out, results)


def _start(
    material: Material, chosen: list[Try], out: Path, job: int, options: argparse.Namespace, deadline: float
) -> int:
    """A process that makes its part of the tries."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        for attempt in chosen:
            stored = _stored(out, attempt)
            if (stored is None or (options.again and stored["wrong"])) and time.monotonic() < deadline:
                _make(material, attempt, out, out / f"work-{job}")
    except BaseException:  # noqa: BLE001 (whatever it is, it must not leave this process)
        traceback.print_exc()
    finally:
        os._exit(0)


def _make(material: Material, attempt: Try, out: Path, work: Path) -> None:
    begin = time.monotonic()
    try:
        wrong = attempt.attempt(material, work)
    except Exception:  # noqa: BLE001 (a try that fails by itself counts as wrong)
        wrong = f"the try itself: {traceback.format_exc()}"
    seconds = round(time.monotonic() - begin, 2)
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(f"{work}.logs", ignore_errors=True)
    path = _path(out, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"kind": attempt.kind, "name": attempt.name, "wrong": wrong, "seconds": seconds}
    path.with_suffix(".part").write_text(json.dumps(told, indent=2), encoding="utf-8")
    path.with_suffix(".part").replace(path)
    if wrong:
        print(f"{attempt.kind}: {attempt.name}: {wrong[:300]!r}", flush=True)


def _path(out: Path, attempt: Try) -> Path:
    """The file of a try: by the letters and digits of its name, and with a digest where another try has that file."""
    whole = f"{attempt.kind} {attempt.name}"
    name = re.sub(r"[^A-Za-z0-9.]+", "-", whole)[:LONGEST]
    path = out / "tries" / f"{name}.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["name"] != attempt.name:
        return path.with_name(f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}.json")
    return path


def _stored(out: Path, attempt: Try) -> dict[str, object] | None:
    path = _path(out, attempt)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _report(out: Path, results: dict[Try, dict[str, object] | None]) -> int:
    rows = ["| kind | tried | wrong |", "|---|---|---|"]
    failed = 0
    for kind in dict.fromkeys(attempt.kind for attempt in results):
        made = [stored for attempt, stored in results.items() if attempt.kind == kind and stored is not None]
        wrong = sum(bool(stored["wrong"]) for stored in made)
        failed += wrong
        rows.append(f"| {kind} | {len(made)} | {wrong} |")
    seconds = sum(float(str(stored["seconds"])) for stored in results.values() if stored)
    missing = sum(stored is None for stored in results.values())
    rows.append(f"\n{seconds / 60:.0f} minutes of tries" + (f"; {missing} not made yet" if missing else ""))
    text = "\n".join(rows)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
