"""Time to quality: processor seconds of the whole command, start to label maps, and their mIoU, without any training.

    OMP_NUM_THREADS=1 python benchmarks/quickly.py [--seeds 511 512 513]
    python benchmarks/quickly.py --show

`semples run folder-fast` (the training-free generator `clip`, CRF, the threshold without masks) as a process, on drawn
worlds of 300 photos, p 0.9, with the shipped CLIP. That CLIP has seen exact masks of such things in its training, as it
has for every other recipe on these worlds. Seed 0 is the demo's own world. One JSON a world, finished ones are skipped.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from folder import Cell, draw
from semples.core.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "quickly"
CLIP = "shipped:demo_clip"


def measure(seed: int) -> dict[str, float]:
    """Draw the world, run the command, read what it cost and made."""
    with tempfile.TemporaryDirectory() as place:
        world, out = draw(Path(place) / "world", Cell(seed=seed)), Path(place) / "run"
        settings = (f"generator.start={CLIP}", f"judge.model={CLIP}", "data.split=train")
        given = [text for setting in settings for text in ("--set", setting)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "semples", "run", "folder-fast", "--data", str(world), "--out", str(out)]
        subprocess.run([*command, *given], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        labels = read_json(out / "scores" / "scores.json")["labels"]
    return {"seed": seed, "labels": round(labels["miou"] / 100, 6), "cpu_seconds": round(used, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 511, 512, 513])
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    for seed in chosen.seeds:
        path = RESULTS / f"s{seed}.json"
        if not path.is_file() and not chosen.show:
            write_json(path, measure(seed))
        if path.is_file():
            cell = read_json(path)
            print(f"| {seed} | {100 * cell['labels']:.1f} | {cell['cpu_seconds']:.0f} |")


if __name__ == "__main__":
    main()
