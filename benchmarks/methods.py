"""What mask generators, judges and the settings between them bring: generator x judge x stage, on drawn worlds and on
real photos.

A cell is one variant (benchmarks/methods_variants.py: GENERATOR@JUDGE+CHANGE) on one drawn world or one split of real
photos: mIoU of the CAMs after every stage at their best threshold, and of the label maps (threshold from photos and
tags alone), with the time of every step. Drawn worlds: recipe `demo`, bfloat16; real photos: recipe `folder-light`.

    OMP_NUM_THREADS=1 python benchmarks/methods.py run --work WORK --seeds 361 [--variants weaktr weaktr@web clip-kk]
    OMP_NUM_THREADS=1 python benchmarks/methods.py run --work WORK --data DIR --photos 100 --variants cnn@none cnn@tags
    python benchmarks/methods.py show
    python benchmarks/methods.py pictures --work WORK --seeds 361 --out rows.png

Every finished cell is a JSON file in benchmarks/results/methods; a second call goes on where the first was cut.
Seeds 0 to 2 were for choosing; figures that are reported come from others.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from methods_variants import CHANGES, GENERATORS, Photos, about, parts
from semples import demo
from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.labels.threshold import winner_map
from semples.run import pipeline
from semples.run.context import Context
from semples.run.names import CURVE_FILE, cams_name, curve_name
from semples.run.records import read_manifest
from semples.run.steps.labels import SCORES

RESULTS = Path(__file__).parent / "results" / "methods"
STAGES = ("warmup", "matching", "refinement")
REPORTED = 100  # worlds of smaller seeds were used for choosing


def measure(context: Context, *, labels: bool) -> dict[str, Any]:
    """All figures of a cell; without `labels` those of the CAMs alone."""
    left_out = () if labels else ("regions", "selection", "labels", "scores")
    steps = [name for name in demo.all_steps(context.recipe) if name not in left_out]
    stages = [stage for stage in STAGES if stage in steps] or ["untrained"]
    if len(stages) == 1:  # its CAMs are the final ones
        steps = [name for name in steps if name not in (cams_name(stages[0]), curve_name(stages[0]))]
    pipeline.run(context, steps=steps)
    cams = {}
    for stage in stages:
        best = read_json(context.folder(curve_name(stage if stage != stages[-1] else STAGES[-1])) / CURVE_FILE)["best"]
        cams[stage] = {"miou": best["miou"], "threshold": best["threshold"]}
    made = read_json(context.folder("scores") / SCORES)["labels"] if labels else None
    seconds = {
        step.name: manifest["seconds"]
        for step in pipeline.known_steps().values()
        if (manifest := read_manifest(context.folder(step.name))) is not None
    }
    return {
        "photos": len(context.dataset.items),
        "cams": cams,
        "labels": None if made is None else {"miou": made["miou"], "threshold": made["threshold"]},
        "seconds": seconds,
    }


def run(work: Path, photos: Photos, variants: Sequence[str], *, labels: bool) -> None:
    """Every cell that has no file yet."""
    for variant in variants:
        path = RESULTS / f"{variant}-{photos.name}{'' if labels else '-cams'}.json"
        if path.is_file():
            continue
        context = photos.run(work, variant)
        share_steps(context.out, variant)
        figures = measure(context, labels=labels)
        write_json(path, {"variant": variant, "on": photos.name, **figures})
        print(f"{path.name}: {figures['cams']}, label maps {figures['labels']}", flush=True)


def share_steps(out: Path, variant: str) -> None:
    """Take over what another variant's run on the same photos has made: the run of the same generator and judge where
    no training changes, else the regions. What does not fit is made anew by the pipeline."""
    if out.exists():
        return
    unchanged = out.with_name(variant.partition("+")[0])
    if CHANGES.get(parts(variant)[2], ("", [""]))[1][0].startswith(("cams.", "labels.")) and unchanged.is_dir():
        shutil.copytree(unchanged, out)
        return
    for regions in sorted(out.parent.glob("*/regions/manifest.json"))[:1]:
        shutil.copytree(regions.parent, out / "regions")


def show() -> None:
    """A Markdown table for the drawn worlds, one for each folder of real photos: means over what was measured, label
    maps of each world too, seconds of the world that took least."""
    cells = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    for place in dict.fromkeys(_place(cell) for cell in cells):
        print(f"\n{place}\n")
        print("| variant | what it is | photos | CAMs: warm-up | (a) | (c) | untrained | label maps | seconds |")
        print("|---|---|---|" + "--:|" * 6)
        for variant in dict.fromkeys(cell["variant"] for cell in cells if _place(cell) == place):
            mine = [cell for cell in cells if cell["variant"] == variant and _place(cell) == place]
            columns = [
                _mean([cell["cams"].get(stage, {}).get("miou") for cell in mine]) for stage in (*STAGES, "untrained")
            ]
            columns.append(_mean([cell["labels"] and cell["labels"]["miou"] for cell in mine], each=True))
            seconds = min(sum(cell["seconds"].values()) for cell in mine)
            on = ", ".join(cell["on"] for cell in mine)
            print(f"| {variant} | {about(variant)} | {on} | {' | '.join(columns)} | {seconds:.0f} |")


def _place(cell: dict[str, Any]) -> str:
    """What photos a cell is on: all drawn worlds are one, those for choosing another."""
    name = str(cell["on"]).partition("-")[0]
    if not name[1:].isdigit():
        return name
    return "drawn worlds" if int(name[1:]) >= REPORTED else "drawn worlds used for choosing"


def _mean(values: Sequence[float | None], *, each: bool = False) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    single = f" ({', '.join(f'{value:.1f}' for value in known)})" if each and len(known) > 1 else ""
    return f"{statistics.fmean(known):.1f}{single}"


def pictures(work: Path, photos: Photos, variants: Sequence[str], out: Path, *, count: int = 12) -> None:
    """A row of photos, then for every variant that was run on them a row of final CAMs."""
    rows: list[np.ndarray] = []
    for variant in variants:
        if not (work / photos.name / variant).is_dir():
            continue
        context = pipeline.open_run(work / photos.name / variant)
        items = [item for item in context.scored_dataset.items if item.tags][:count]
        shown = [context.dataset.photo(item) for item in items]
        if not rows:
            rows.append(demo.stack(shown, axis=1))
        store = CamStore(context.folder(cams_name()))
        heats = [
            demo.overlay(p, winner_map(store.read(i.id), p.shape[:2])[1]) for i, p in zip(items, shown, strict=True)
        ]
        rows.append(demo.stack(heats, axis=1))
        print(f"row {len(rows)}: {variant}")
    demo.save_picture(demo.stack(rows, axis=0), out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running, drawing = commands.add_parser("run"), commands.add_parser("pictures")
    commands.add_parser("show")
    for one in (running, drawing):
        one.add_argument("--work", type=Path, required=True)
        one.add_argument("--photos", type=int, default=300)
        one.add_argument("--data", type=Path, help="a folder of real photos with masks, as benchmarks/real.py takes it")
        one.add_argument("--half", choices=("develop", "report"), default="report", help="of the real photos")
        one.add_argument("--seeds", type=int, nargs="+", default=[0], help="worlds; of real photos, splits")
        one.add_argument("--variants", nargs="+", default=list(GENERATORS))
    running.add_argument("--cams", action="store_true", help="no label maps")
    drawing.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    if chosen.command == "show":
        show()
        return
    for seed in chosen.seeds:
        photos = Photos(chosen.photos, seed, chosen.data, chosen.half)
        if chosen.command == "run":
            run(chosen.work, photos, chosen.variants, labels=not chosen.cams)
        else:
            pictures(chosen.work, photos, chosen.variants, chosen.out)


if __name__ == "__main__":
    main()
