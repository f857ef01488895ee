"""What co-occurrence does to masks, and what each stage does about it, on drawn worlds with exact truth.

For every strength of co-occurrence p and every seed: the whole method on a fresh demo world, and as a control a
refinement with the prompts of *another* class. Figures on the training photos: mIoU at the best threshold, FP-own
(share of a class's own background labelled as it), AUC (chance that a CAM value on the thing exceeds one on its own
background) and the rank of the own background's word among those nearest to the learned prompt. Differences are
paired by world; intervals are 95 % (Student's t).

    python benchmarks/cooccurrence.py run  [--p 0.5 0.7 0.9 0.99] [--seeds 100 101 102 103 104] [--share 1/2]
    python benchmarks/cooccurrence.py ablate [--p 0.9] [--seeds 100 101 102]
    python benchmarks/cooccurrence.py show
    ... --clip web: the shipped CLIP with the bias of web-trained ones, and start weights of the same tower

Every finished world is a JSON file in benchmarks/results/cooccurrence, those of `web` in its folder `web`, so a
stopped benchmark goes on where it was; `--share 1/2` and `--share 2/2` split the work between two processes. Seeds 100
to 104 are for this benchmark alone; the recipe was tuned on seeds below 10 and on 311.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from semples import demo
from semples.core.files import read_json, write_json, write_text
from semples.evaluation.cooccurrence import Cooccurrence
from semples.inspect.words import nearest_words
from semples.judges.words import DEMO_CLIP, DEMO_CLIP_WEB, words_of
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.models import PROMPTS
from semples.run.names import CURVE_FILE, curve_name

RECIPE = Path(__file__).parent / "recipes" / "demo-0e5ccf8.yaml"  # of the demo when these figures were made
RESULTS = Path(__file__).parent / "results" / "cooccurrence"
CLIPS: dict[str, tuple[str, ...]] = {
    "shipped": (),
    "web": (f"judge.model={DEMO_CLIP_WEB}", "generator.start=shipped:demo_vit_web"),
}
P, SEEDS = (0.9, 0.5, 0.99, 0.7), (100, 101, 102, 103, 104)
FAST = ("cams.scales=[1.0]",)  # one scale, mirrored: CAM making would be most of the time otherwise
LEFT_OUT = ("regions", "selection", "labels", "scores")
STATES = ("warmup", "matching", "refinement", "control")
FIGURES = ("miou", "fp_own", "auc")
ABLATIONS: dict[str, tuple[str, ...]] = {
    "as shipped": (),
    "without the background term (lambda_T = 0)": ("matching.lambda_background=0", "refinement.lambda_background=0"),
    "without the prompt term (lambda_R = 0)": ("refinement.lambda_refinement=0",),
    "without keeping prompts off the class (lambda_P = 0)": ("prompting.lambda_prompt=0",),
    "lambda_T = 2.4 (published for VOC)": ("matching.lambda_background=2.4", "refinement.lambda_background=2.4"),
    "lambda_R = 0.05 (published for VOC)": ("refinement.lambda_refinement=0.05",),
    "lambda_R = 1": ("refinement.lambda_refinement=1",),
    "M = 1": ("prompts.length=1",),
    "M = 6": ("prompts.length=6",),
    "cam_epsilon as published": (
        "matching.cam_epsilon=0.1",
        "prompting.cam_epsilon=1e-4",
        "refinement.cam_epsilon=0.1",
    ),
}


def run_world(p: float, seed: int, clip: str = "shipped") -> dict[str, Any]:
    """All figures of one world."""
    with tempfile.TemporaryDirectory() as place:
        context = train_world(Path(place), p, seed, clip)
        control = figures(_control(context, Path(place) / "control"), "refinement")
        return {"p": p, "seed": seed, **world_figures(context), "control": control}


def train_world(out: Path, p: float, seed: int, clip: str = "shipped") -> Context:
    """Draw a world in `out` and run the method on it, up to the CAMs of every stage."""
    world = demo.draw_world(out, demo.DemoSettings(p=p, seed=seed))
    context = Context(_recipe(seed, CLIPS[clip]), Source(world), out / "run")
    pipeline.run(context, steps=_measured(context.recipe))
    return context


def ablations_of(p: float, seed: int, clip: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of ABLATIONS on one world; what a setting does not touch is taken from the run as shipped."""
    with tempfile.TemporaryDirectory() as place:
        shipped = train_world(Path(place), p, seed, clip)
        for index, (name, overrides) in enumerate(ABLATIONS.items()):
            context = replace(shipped, recipe=_recipe(seed, [*CLIPS[clip], *overrides]), out=Path(place) / str(index))
            shutil.copytree(shipped.out, context.out)
            pipeline.run(context, steps=_measured(context.recipe))
            yield name, {"p": p, "seed": seed, **world_figures(context)}


def _measured(recipe: Recipe) -> list[str]:
    """The steps up to the CAMs of every stage."""
    return [name for name in demo.all_steps(recipe) if name not in LEFT_OUT]


def _recipe(seed: int, overrides: Sequence[str] = ()) -> Recipe:
    return load_recipe(RECIPE, [f"run.seed={seed}", "data.workers=0", *FAST, *overrides])


def world_figures(context: Context) -> dict[str, Any]:
    """Figures of every stage, and the ranks of the backgrounds' words."""
    return {stage: figures(context, stage) for stage in demo.STAGES} | {"ranks": ranks(context)}


def _control(context: Context, out: Path) -> Context:
    """Refinement with every class's prompt replaced by the next class's."""
    shutil.copytree(context.out, out)
    path = out / "prompting" / PROMPTS
    vectors = load_file(path)["vectors"]
    names = json.dumps(list(context.dataset.classes.names))
    save_file({"vectors": torch.roll(vectors, 1, dims=0).contiguous()}, path, metadata={"classes": names})
    control = replace(context, out=out)
    for step in ("refinement", "cams", "curve"):
        shutil.rmtree(out / step)
    pipeline.run(control, steps=["refinement", "cams", "curve"])
    return control


def figures(context: Context, stage: str) -> dict[str, Any]:
    """mIoU at the best threshold, FP-own there, AUC; all 0..1."""
    best = read_json(context.folder(curve_name(stage)) / CURVE_FILE)["best"]
    mix_up: Cooccurrence = demo.cooccurrence(context, stage, threshold=best["threshold"])
    return {
        "miou": best["miou"] / 100,
        "threshold": best["threshold"],
        "fp_own": mix_up.mean_fp_own,
        "auc": mix_up.mean_auc,
        "auc_per_class": dict(zip(context.dataset.classes.names, mix_up.auc.tolist(), strict=True)),
    }


def ranks(context: Context) -> dict[str, int]:
    """Rank (1 is nearest) of the own background's word for every class."""
    words = words_of(DEMO_CLIP)
    grounds = read_json(context.dataset.root / "world.json")["own_background"]
    nearest = nearest_words(context, words=words, count=10_000)
    return {name: [entry["word"] for entry in rows].index(grounds[name]) + 1 for name, rows in nearest.items()}


# ------------------------------------------------------------------------------------------------------------ tables


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval (Student's t)."""
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
    if len(values) < 2:
        return values[0], math.nan
    return statistics.mean(values), t.get(len(values), 1.96) * statistics.stdev(values) / len(values) ** 0.5


def show(results: Path) -> str:
    """The tables of all finished worlds."""
    worlds = [read_json(path) for path in sorted(results.glob("p*.json"))]
    lines = [
        "| p | figure | warm-up | (a) | (c) | control | (a) − warm-up | (c) − (a) | (c) − control |",
        "|" + "---|" * 9,
    ]
    for p in sorted({world["p"] for world in worlds}):
        mine = [world for world in worlds if world["p"] == p]
        for figure in FIGURES:
            columns = {state: [world[state][figure] for world in mine] for state in STATES}
            cells = [f"{statistics.mean(values):.3f} ± {_spread(values):.3f}" for values in columns.values()]
            pairs = (("matching", "warmup"), ("refinement", "matching"), ("refinement", "control"))
            cells += [_paired(columns[left], columns[right]) for left, right in pairs]
            lines.append(f"| {p} | {figure} | {' | '.join(cells)} |")
    lines += ["", "| p | own background's word nearest to the prompt, classes of 8 (mean, each seed) |", "|---|---|"]
    for p in sorted({world["p"] for world in worlds}):
        first = [sum(rank == 1 for rank in world["ranks"].values()) for world in worlds if world["p"] == p]
        lines.append(f"| {p} | {statistics.mean(first):.1f} ({', '.join(map(str, first))}) |")
    return "\n".join([*lines, *_ablation_table(results)])


def _paired(left: Sequence[float], right: Sequence[float]) -> str:
    differences = [a - b for a, b in zip(left, right, strict=True)]
    mean, half = interval(differences)
    return f"{mean:+.3f} ± {half:.3f} ({sum(x > 0 for x in differences)} of {len(differences)} up)"


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _ablation_table(results: Path) -> list[str]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(results.glob("ablation-*.json")):
        stored = read_json(path)
        rows.setdefault(stored["ablation"], []).append(stored)
    if not rows:
        return []
    lines = ["", "| setting | mIoU (a) | mIoU (c) | FP-own (c) | AUC (c) | words first of 8 |", "|" + "---|" * 6]
    for name in ABLATIONS:
        if name in rows:
            mine = rows[name]
            cells = [("matching", "miou"), ("refinement", "miou"), ("refinement", "fp_own"), ("refinement", "auc")]
            means = [f"{statistics.mean(world[state][figure] for world in mine):.3f}" for state, figure in cells]
            first = statistics.mean(sum(rank == 1 for rank in world["ranks"].values()) for world in mine)
            lines.append(f"| {name} | {' | '.join(means)} | {first:.1f} |")
    return lines


def plot(figure: str, results: Path) -> str:
    """An SVG line chart of a figure over p, one line a state, every world a dot."""
    worlds = [read_json(path) for path in sorted(results.glob("p*.json"))]
    strengths = sorted({world["p"] for world in worlds})
    width, height, left, bottom = 480, 300, 50, 40
    colours = {"warmup": "#8a8a8a", "matching": "#2b6cb0", "refinement": "#2f855a", "control": "#c05621"}

    def x(p: float) -> float:
        return left + strengths.index(p) * (width - left - 120) / max(1, len(strengths) - 1)

    shown = [world[state][figure] for world in worlds for state in colours]
    low, high = math.floor(min(shown) * 20) / 20, math.ceil(max(shown) * 20) / 20  # whole twentieths

    def y(value: float) -> float:
        return height - bottom - (value - low) / (high - low) * (height - bottom - 20)

    box = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    parts = [f'<svg {box} font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for tick in [round(low + (high - low) * part / 4, 4) for part in range(5)]:
        parts.append(
            f'<path d="M{left} {y(tick)}H{width - 120}" stroke="#ddd"/><text x="12" y="{y(tick) + 4}">{tick}</text>'
        )
    for p in strengths:
        parts.append(f'<text x="{x(p) - 10}" y="{height - 20}">{p}</text>')
    for index, (state, colour) in enumerate(colours.items()):
        means = []
        for p in strengths:
            values = [world[state][figure] for world in worlds if world["p"] == p]
            means.append(f"{x(p):.1f},{y(statistics.mean(values)):.1f}")
            parts += [
                f'<circle cx="{x(p):.1f}" cy="{y(v):.1f}" r="2.5" fill="{colour}" opacity="0.5"/>' for v in values
            ]
        parts.append(f'<polyline points="{" ".join(means)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{width - 110}" y="{40 + 18 * index}" fill="{colour}">{state}</text>')
    parts.append(f'<text x="{left}" y="14">{figure} over the strength of co-occurrence p</text></svg>')
    return "\n".join(parts) + "\n"


# -------------------------------------------------------------------------------------------------------------- main


def share_of(jobs: Iterable[Any], share: str) -> list[Any]:
    """Every n-th job, for `k/n`."""
    mine, count = (int(part) for part in share.split("/"))
    return [job for index, job in enumerate(jobs) if index % count == mine - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "ablate", "show"))
    parser.add_argument("--p", type=float, nargs="*")
    parser.add_argument("--seeds", type=int, nargs="*")
    parser.add_argument("--share", default="1/1")
    parser.add_argument("--clip", choices=tuple(CLIPS), default="shipped")
    arguments = parser.parse_args()
    clip = arguments.clip
    results = RESULTS if clip == "shipped" else RESULTS / clip
    if arguments.what == "run":
        jobs = [(p, seed) for p in arguments.p or P for seed in arguments.seeds or SEEDS]
        for p, seed in share_of(jobs, arguments.share):
            path = results / f"p{p}-seed{seed}.json"
            if not path.is_file():
                write_json(path, run_world(p, seed, clip))
                print(path.name, flush=True)
    elif arguments.what == "ablate":
        for seed in share_of(arguments.seeds or SEEDS[:3], arguments.share):
            paths = {name: results / f"ablation-{index}-seed{seed}.json" for index, name in enumerate(ABLATIONS)}
            if all(path.is_file() for path in paths.values()):
                continue
            for name, row in ablations_of((arguments.p or [0.9])[0], seed, clip):
                write_json(paths[name], {"ablation": name} | row)
                print(paths[name].name, flush=True)
    else:
        print(show(results))
        for figure in FIGURES:
            write_text(results / f"{figure}.svg", plot(figure, results))


if __name__ == "__main__":
    main()
