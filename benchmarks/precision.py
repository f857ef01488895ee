"""Half precision against float32 in mIoU: the demo's whole recipe on the same drawn worlds with the same seeds.

    OMP_NUM_THREADS=1 python benchmarks/precision.py run --work WORK --seeds 371 372 373
    python benchmarks/precision.py show

    float32    `run.precision=no`, what a processor trains in by itself
    bf16       `run.precision=bf16`, what a GPU trains in by itself; masks, their gradients and CAMs in float32
    bf16 all   `run.inference=bf16` too: CAMs, the choice of an epoch and the judge's masks

Runs wherever it is started: a processor computes bf16 with the same rounding as a GPU, in another order. mIoU of the
CAMs at their best threshold and of the label maps on the training photos, of the segmenter on photos that no stage saw.
Every finished cell is a JSON file in benchmarks/results/precision.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selftraining import seconds
from semples import demo
from semples.core.files import read_json, write_json
from semples.inspect.comparison import interval
from semples.run.names import CURVE_FILE, curve_name

RESULTS = Path(__file__).parent / "results" / "precision"
VARIANTS = {
    "float32": ["run.precision=no"],
    "bf16": ["run.precision=bf16"],
    "bf16 all": ["run.precision=bf16", "run.inference=bf16"],
}
FIGURES = ("CAMs", "label maps", "segmenter")


def measure(work: Path, seed: int, variant: str) -> dict[str, Any]:
    """One cell; what was done before is taken up."""
    out = work / f"s{seed}-{variant.replace(' ', '-')}"
    begin = seconds()
    summary = demo.run_demo(out, demo.DemoSettings(seed=seed), overrides=VARIANTS[variant])
    used = seconds() - begin
    curve = read_json(out / "run" / curve_name("refinement") / CURVE_FILE)
    shutil.rmtree(out)
    return {
        "seed": seed,
        "variant": variant,
        "CAMs": curve["best"]["miou"],
        "label maps": 100 * summary["labels"]["miou"],
        "segmenter": 100 * summary["segmenter"]["miou"],
        "seconds": round(used, 1),
    }


def run(work: Path, seeds: Sequence[int], variants: Sequence[str]) -> None:
    """Every cell that has no file yet."""
    for seed in seeds:
        for variant in variants:
            path = RESULTS / f"s{seed}-{variant.replace(' ', '-')}.json"
            if not path.is_file():
                write_json(path, measure(work, seed, variant))
                print(read_json(path), flush=True)


def show() -> None:
    """A row a precision, each with its single worlds, and its paired difference to float32 with a 95 % interval."""
    cells = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    print(f"| precision | {' | '.join(FIGURES)} | CPU s |\n|---|{'---|' * (len(FIGURES) + 1)}")
    plain = {cell["seed"]: cell for cell in cells if cell["variant"] == "float32"}
    for variant in VARIANTS:
        mine = [cell for cell in cells if cell["variant"] == variant]
        if mine:
            columns = [_column(mine, plain, figure, differences=variant != "float32") for figure in FIGURES]
            spent = sum(cell["seconds"] for cell in mine) / len(mine)
            print(f"| {variant} | {' | '.join(columns)} | {spent:.0f} |")


def _column(mine: Sequence[dict[str, Any]], plain: dict[int, dict[str, Any]], figure: str, *, differences: bool) -> str:
    values = [cell[figure] for cell in mine]
    text = f"{sum(values) / len(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})"
    gain = interval([cell[figure] - plain[cell["seed"]][figure] for cell in mine if cell["seed"] in plain])
    if not differences or gain is None:
        return text
    return f"{text}, {gain.mean:+.2f}" + (f" ± {gain.half:.2f}" if gain.half is not None else "")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--work", type=Path, required=True)
    running.add_argument("--seeds", type=int, nargs="+", default=[371, 372, 373])
    running.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    commands.add_parser("show")
    chosen = parser.parse_args()
    if chosen.command == "show":
        show()
    else:
        run(chosen.work, chosen.seeds, chosen.variants)


if __name__ == "__main__":
    main()
