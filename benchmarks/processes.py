"""Photos a second of the file steps by one process and by two: CAMs, regions, label maps with and without a dense CRF.

Drawn photos of 500x375, a WeakTr of DeiT-S's size with random weights, one thread a process, none beside it
(data.workers=0). Seconds are those of the steps' manifests: starting the program is not in them, nor is the CRF's
translation to machine code, which is done and stored beforehand. Worth something only on a machine that does nothing
else: two processes are compared with one on the same two cores.

    OMP_NUM_THREADS=1 python benchmarks/processes.py --photos 24 --work work/processes [--out JSON]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from semples.core.files import read_json, write_json
from semples.labels.crf.dense import DenseCrf
from semples.recipe import CrfSettings

HEIGHT, WIDTH = 375, 500
NAMES = ("disc", "square", "bar")
SETTINGS = [
    "generator.kind=weaktr", "generator.start=random", "generator.image_size=224", "generator.width=384",
    "generator.depth=12", "generator.heads=6", "judge.kind=none", "warmup.epochs=1", "warmup.batch=4",
    "warmup.base_lr=0.001", "data.workers=0", "labels.method=regions+crf", "labels.select=fixed", "health.photos=0",
]  # fmt: skip
LABEL = ("label", "--threshold", "0.4", "--method")
# Commands in their order, and what their steps are called in the table.
COMMANDS: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
    (("cams",), {"cams": "cams"}),
    ((*LABEL, "regions+crf"), {"regions": "regions", "labels": "label maps by regions and CRF, regions made"}),
    ((*LABEL, "threshold"), {"labels": "label maps by threshold"}),
)
TOGETHER = "`label --method regions+crf`, regions and label maps"


def draw(folder: Path, count: int) -> None:
    """Smooth photos with one or two tags each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), ["image,tags"]
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.jpg", quality=90)
        rows.append(f"{number:04d}.jpg,{NAMES[number % 3]}" + (f";{NAMES[(number + 1) % 3]}" if number % 2 else ""))
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def semples(*arguments: str | Path, processes: int = 1) -> None:
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launch, "-m", "semples", *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def measured(work: Path, count: int) -> dict[str, dict[str, float]]:
    """Photos a second of each command, by processes."""
    photos, run = work / "photos", work / "run"
    if not (run / "warmup" / "manifest.json").is_file():
        draw(photos, count)
        sets = [part for setting in SETTINGS for part in ("--set", setting)]
        semples("run", "folder-light", "--data", photos, "--out", run, "--until", "warmup", "--quiet", *sets)
    translate()
    speeds: dict[str, dict[str, float]] = {}
    for processes in (1, 2):
        copy = work / f"run{processes}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        for (first, *rest), steps in COMMANDS:
            semples(first, "--out", copy, *rest, processes=processes)
            seconds = {name: read_json(copy / step / "manifest.json")["seconds"] for step, name in steps.items()}
            if len(seconds) > 1:
                seconds[TOGETHER] = sum(seconds.values())
            for name, taken in seconds.items():
                speeds.setdefault(name, {})[str(processes)] = count / taken
    return speeds


def translate() -> None:
    """Brings the CRF to machine code, which is kept on disk, so that no process has to while its time is taken."""
    photo, unary = torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(2, 8, 8)
    DenseCrf(CrfSettings()).marginals([photo], [unary])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    speeds = measured(options.work, options.photos)
    print("| step | 1 process | 2 processes | times |\n|---|---|---|---|")
    for name, speed in speeds.items():
        one, two = speed["1"], speed["2"]
        print(f"| {name} | {one:.2f} photos/s | {two:.2f} photos/s | {two / one:.2f} |")
    if options.out is not None:
        load = os.getloadavg()[0]
        write_json(options.out, {"photos": options.photos, "load": load, "photos_a_second": speeds})


if __name__ == "__main__":
    main()
