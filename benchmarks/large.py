"""Seconds and peak memory of every command on very many tiny photos: what grows with their number?

Photos of 32 pixels in folders of at most 10,000, with a tags file, are drawn once; then each command is a process of
its own: data check, one epoch of warm-up, CAMs, label maps, status, export to COCO, report. A second call goes on where
the first was cut.

    OMP_NUM_THREADS=1 python benchmarks/large.py --photos 120000 --work work/large
    python benchmarks/large.py --table
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semples.core.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "large"
SIDE, FOLDER = 32, 10_000
CLASSES = ("red", "green", "blue")
RECIPE = """\
name: large
data: {workers: 0}
generator: {start: random, width: 32, depth: 1, heads: 2, patch_size: 8, image_size: 32}
warmup: {epochs: 1, batch: 256}
cams: {scales: [1.0], batch: 64}
labels: {method: threshold, select: fixed, threshold: 0.4}
"""
FIXED = ("--method", "threshold", "--threshold", "0.4")


def draw(folder: Path, count: int) -> Path:
    """Noise with a square of one colour or of two, and a row in tags.csv for each photo."""
    if (folder / "tags.csv").is_file():
        return folder
    rng = np.random.default_rng(0)
    rows = ["image,tags"]
    for index in range(count):
        name = f"{index // FOLDER:03d}/{index:07d}.jpg"
        photo = rng.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
        tags = sorted({int(tag) for tag in rng.integers(0, 3, 1 + index % 2)})
        for tag in tags:
            top, left = rng.integers(0, SIDE - 12, 2)
            photo[top : top + 12, left : left + 12] = np.eye(3, dtype=np.uint8)[tag] * 255
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(path, quality=90)
        rows.append(f"{name},{';'.join(CLASSES[tag] for tag in tags)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def commands(work: Path) -> dict[str, list[str | Path]]:
    """Every command by its name, in order."""
    photos, run, recipe = work / "photos", work / "run", work / "large.yaml"
    labels = work / "labels"
    return {
        "data check": ["data", "check", photos],
        "warm-up, 1 epoch": ["train", "warmup", "--recipe", recipe, "--data", photos, "--out", run],
        "CAMs": ["cams", run, "--stage", "warmup"],
        "label maps": ["label", labels, "--cams", run / "cams-warmup", "--data", photos, *FIXED],
        "status": ["status", run],
        "nothing to do": ["cams", run, "--stage", "warmup"],
        "export coco": ["export", "coco", run, "--labels", labels, "--out", work / "coco"],
        "report": ["report", run, "--out", work / "report.html"],
    }


def measured(command: list[str | Path], log: Path) -> dict[str, float]:
    """Seconds and peak memory in GB (10^9 bytes) of a command, as a process of one thread."""
    line = [sys.executable, "-m", "semples", *map(str, command)]
    begin = time.perf_counter()
    with open(log, "wb") as file:
        process = subprocess.Popen(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(line)} ended with {os.waitstatus_to_exitcode(status)}: {log}")
    seconds = time.perf_counter() - begin
    processor = usage.ru_utime + usage.ru_stime
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "gigabytes": round(usage.ru_maxrss * 1024 / 1e9, 2),
    }


def table() -> str:
    """A row a command, a column a number of photos."""
    stored = {
        int(path.stem): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(RESULTS.glob("*.json"), key=lambda path: int(path.stem))
    }
    titles = " | ".join(f"{count:,} photos" for count in stored)
    rows = [f"| command | {titles} |", "|---" * (1 + len(stored)) + "|"]
    for name in next(iter(stored.values()), {}):
        cells = [entry.get(name) for entry in stored.values()]
        shown = [
            "" if cell is None else f"{cell['processor_seconds']:.0f} s, {cell['gigabytes']:.2f} GB" for cell in cells
        ]
        rows.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=120_000)
    parser.add_argument("--work", type=Path, default=Path("work/large"))
    parser.add_argument("--table", action="store_true", help="print the table of stored results and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        work = arguments.work / str(arguments.photos)
        work.mkdir(parents=True, exist_ok=True)
        (work / "large.yaml").write_text(RECIPE, encoding="utf-8")
        draw(work / "photos", arguments.photos)
        path = RESULTS / f"{arguments.photos}.json"
        done: dict[str, Any] = read_json(path) if path.is_file() else {}
        for name, command in commands(work).items():
            if name not in done:
                if name == "export coco":
                    shutil.rmtree(work / "coco", ignore_errors=True)
                done[name] = measured(command, work / f"{name.replace(' ', '-')}.log")
                write_json(path, done)
            print(name, done[name], flush=True)
    print(table())


if __name__ == "__main__":
    main()
