"""What a user's own folder gets: the recipe `folder`, nothing set but the shipped models, on drawn worlds.

    OMP_NUM_THREADS=1 python benchmarks/folder.py --photos 300 --seed 511 --json cell.json
        [--p 0.9] [--classes 8] [--resolution 96] [--imbalance 20] [--control] [--recipe FILE] [--set KEY=VALUE]
    python benchmarks/folder.py --cells final          # every cell of a list in turn, finished ones skipped
    python benchmarks/folder.py --show final           # their table

A cell draws its world, runs the recipe up to the segmenter, and writes one JSON file: `cam` (after (c), at the best
threshold), `labels` (the label maps, threshold chosen without masks), both on the training photos; `segmenter` on 100
photos that no stage saw, without tags; all mIoU in 0..1. `cpu_seconds`: of training and label maps, child processes
included; by step in `cpu`. `words_first`: for how many classes their own background's word lies nearest to the learned
prompt. With --control also the AUC of (c) and of a refinement with every class given the next class's prompt. Scoring
and the control are not in `cpu_seconds`.

--imbalance R: the commonest class has R times the photos of the rarest, the others lie between in equal ratios.
Seeds 0 to 2 served to choose; the final cells are of seeds that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from semples import demo
from semples.core.files import read_json, write_json, write_text
from semples.data.dataset import open_dataset
from semples.data.demo.world import write_world
from semples.inspect.words import nearest_words
from semples.judges.words import DEMO_CLIP, words_of
from semples.prediction import load
from semples.prediction.evaluate import evaluate
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.models import PROMPTS
from semples.run.names import CURVE_FILE, MODEL, SEGMENTER, curve_name

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "folder"
OLD = HERE / "recipes" / "demo-0e5ccf8.yaml"
MODELS = (
    "generator.start=shipped:demo_vit",
    "judge.model=shipped:demo_clip",
    "segmenter.model=vit:shipped:demo_vit",
)
UNSEEN = 100  # photos of the list `val`
SCORING = ("curve", "scores")
LAST = "refinement"


@dataclass(frozen=True)
class Cell:
    """One world and the recipe that is run on it."""

    photos: int = 300
    seed: int = 0
    p: float = 0.9
    classes: int = 8
    resolution: int = 96
    imbalance: float = 1.0
    recipe: str = "folder"
    control: bool = False

    @property
    def name(self) -> str:
        """Of its file."""
        parts = [f"n{self.photos}", f"s{self.seed}", f"p{self.p:g}", f"k{self.classes}", f"r{self.resolution}"]
        parts += [f"i{self.imbalance:g}"] if self.imbalance != 1 else []
        return "-".join([*parts, Path(self.recipe).stem])

    def arguments(self, path: Path) -> list[str]:
        """The command line that measures it."""
        given = [
            ("--photos", self.photos),
            ("--seed", self.seed),
            ("--p", self.p),
            ("--classes", self.classes),
            ("--resolution", self.resolution),
            ("--imbalance", self.imbalance),
            ("--recipe", self.recipe),
            ("--json", path),
        ]
        return [text for pair in given for text in map(str, pair)] + ["--control"] * self.control


# ------------------------------------------------------------------------------------------------------------- a cell


def measure(cell: Cell, settings: Sequence[str] = ()) -> dict[str, Any]:
    """All figures of one cell."""
    with tempfile.TemporaryDirectory() as place:
        return measure_in(Path(place), cell, settings)


def measure_in(place: Path, cell: Cell, settings: Sequence[str] = ()) -> dict[str, Any]:
    """The same in a folder that stays."""
    world = draw(place / "world", cell)
    recipe = load_recipe(cell.recipe, [*MODELS, f"run.seed={cell.seed}", *settings])
    context = Context(recipe, Source(world), place / "run")
    cpu: dict[str, float] = {}
    for step in [*(step.name for step in pipeline.run_steps(recipe)), SEGMENTER]:
        begin = _cpu_seconds()
        pipeline.run(context, steps=[step])
        cpu[step] = round(_cpu_seconds() - begin, 2)
        print(f"{time.strftime('%H:%M:%S')} {cell.name} {step}: {cpu[step]} CPU s", file=sys.stderr, flush=True)
    best = read_json(context.folder(curve_name(LAST)) / CURVE_FILE)["best"]
    labels = read_json(context.folder("scores") / "scores.json")["labels"]
    model = load(context.folder(SEGMENTER) / MODEL, workers=0)
    unseen = evaluate(model, open_dataset(world, split="val"))
    grounds = read_json(world / "world.json")["own_background"]
    words = words_of(DEMO_CLIP)
    nearest = nearest_words(context, words=words, count=10_000)
    ranks = {name: [entry["word"] for entry in rows].index(grounds[name]) + 1 for name, rows in nearest.items()}
    figures = {
        "cam": round(best["miou"] / 100, 6),
        "labels": round(labels["miou"] / 100, 6),
        "segmenter": round(unseen.scores.miou / 100, 6),
        "cpu_seconds": round(sum(seconds for step, seconds in cpu.items() if step not in SCORING), 1),
        "words_first": sum(rank == 1 for rank in ranks.values()),
        "ranks": ranks,
        "words": {name: [(entry["word"], entry["cosine"]) for entry in rows[:3]] for name, rows in nearest.items()},
        "threshold": {"best": best["threshold"], "chosen": labels["threshold"]},
        "cpu": cpu,
    }
    if cell.control:
        figures |= {"auc": auc(context), "auc_control": auc(control(context, place / "control"))}
    return {**vars(cell), "recipe": Path(cell.recipe).stem, "settings": list(settings), **figures}


def draw(folder: Path, cell: Cell) -> Path:
    """The world, its list `train` with the cell's photos and `val` with those that no stage sees."""
    if (folder / "world.json").is_file():
        return folder
    drawn = cell.photos if cell.imbalance == 1 else 4 * cell.photos
    write_world(
        folder,
        photos={"train": drawn, "val": UNSEEN},
        seed=cell.seed,
        p=cell.p,
        class_count=cell.classes,
        resolution=cell.resolution,
    )
    if cell.imbalance != 1:
        items = open_dataset(folder, split="train").items
        chosen = unbalanced([item.tags for item in items], cell)
        listed = folder / "ImageSets" / "Segmentation" / "train.txt"
        write_text(listed, "".join(f"{Path(items[index].id).name}\n" for index in chosen))
    return folder


def unbalanced(tags: Sequence[Sequence[int]], cell: Cell) -> list[int]:
    """Photos (indices) in which the commonest class is `imbalance` times as frequent as the rarest, about.

    Every photo is kept with the chance of its rarest class; class k's chance is imbalance^(-k / (K - 1)).
    """
    chance = cell.imbalance ** -(np.arange(cell.classes) / max(1, cell.classes - 1))
    weight = np.array([min((chance[tag] for tag in tags_of_photo), default=1.0) for tags_of_photo in tags])
    key = np.random.default_rng(cell.seed).random(len(tags)) ** (1 / weight)
    return sorted(np.argsort(-key)[: cell.photos].tolist())


def control(context: Context, out: Path) -> Context:
    """The run with a refinement in which every class has the next class's prompt."""
    shutil.copytree(context.out, out)
    path = out / "prompting" / PROMPTS
    vectors = load_file(path)["vectors"]
    names = json.dumps(list(context.dataset.classes.names))
    save_file({"vectors": torch.roll(vectors, 1, dims=0).contiguous()}, path, metadata={"classes": names})
    for step in (LAST, "cams"):
        shutil.rmtree(out / step)
    other = replace(context, out=out)
    pipeline.run(other, steps=[LAST, "cams"])
    return other


def auc(context: Context) -> float:
    """Chance that a CAM value on the thing exceeds one on its own background, mean over classes."""
    return round(demo.cooccurrence(context, LAST, threshold=0.5).mean_auc, 6)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(entry.ru_utime + entry.ru_stime for entry in used)


# ----------------------------------------------------------------------------------------------------- lists of cells

FRESH = (511, 512, 513)


def listed(name: str) -> Iterator[Cell]:
    """The cells of a list, those of most worth first."""
    if name == "final":
        for seed in FRESH:
            yield Cell(seed=seed, control=True)
            yield Cell(seed=seed, recipe=str(OLD))
        for photos in (100, 50, 1000):
            yield from (Cell(photos=photos, seed=seed, control=True) for seed in FRESH)
        for p in (0.5, 0.99):
            yield from (Cell(p=p, seed=seed) for seed in FRESH)
        yield from (Cell(classes=3, seed=seed) for seed in FRESH)
        yield from (Cell(resolution=192, seed=seed) for seed in FRESH)
        yield from (Cell(imbalance=20, seed=seed) for seed in FRESH)
        yield from (Cell(photos=3000, seed=seed, control=True) for seed in FRESH)
    else:
        raise SystemExit(f"{name}: no such list; there is final")


def run_list(name: str) -> None:
    """Measure every cell of a list that has no file yet, a process each."""
    for cell in listed(name):
        path = RESULTS / f"{cell.name}.json"
        if not _measured(cell, path):
            path.unlink(missing_ok=True)
            subprocess.run([sys.executable, __file__, *cell.arguments(path)], check=True)


def _measured(cell: Cell, path: Path) -> bool:
    """Whether the file has all that the cell asks for."""
    return path.is_file() and (not cell.control or "auc_control" in read_json(path))


def show(name: str) -> str:
    """The table of a list, means over seeds with every seed's value, in Markdown."""
    lines = ["| world | recipe | seeds | CAM | labels | segmenter | CPU s | words first | AUC (c) - control |"]
    lines += ["|" + "---|" * 9]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in listed(name):
        path = RESULTS / f"{cell.name}.json"
        if path.is_file():
            groups.setdefault((_world(cell), Path(cell.recipe).stem), []).append(read_json(path))
    for (world, recipe), cells in groups.items():
        columns = [_values(cells, key, 100) for key in ("cam", "labels", "segmenter")]
        columns += [_values(cells, "cpu_seconds", 1, digits=0), _values(cells, "words_first", 1, digits=0)]
        gains = [f"{cell['auc'] - cell['auc_control']:+.3f}" for cell in cells if "auc" in cell]
        seeds = ", ".join(str(cell["seed"]) for cell in cells)
        lines.append("| " + " | ".join([world, recipe, seeds, *columns, ", ".join(gains)]) + " |")
    return "\n".join(lines)


def _world(cell: Cell) -> str:
    usual = Cell()
    parts = [f"{cell.photos} photos"]
    parts += [f"p {cell.p:g}"] if cell.p != usual.p else []
    parts += [f"{cell.classes} classes"] if cell.classes != usual.classes else []
    parts += [f"{cell.resolution} px"] if cell.resolution != usual.resolution else []
    parts += [f"1:{cell.imbalance:g}"] if cell.imbalance != usual.imbalance else []
    return ", ".join(parts)


def _values(cells: Sequence[dict[str, Any]], key: str, factor: float, *, digits: int = 1) -> str:
    values = [cell[key] * factor for cell in cells]
    return f"{statistics.mean(values):.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in values)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--p", type=float, default=0.9)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--imbalance", type=float, default=1.0)
    parser.add_argument("--recipe", default="folder", help="shipped recipe or file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--control", action="store_true", help="also a refinement with another class's prompts")
    parser.add_argument("--keep", type=Path, help="folder that the world and the run stay in")
    parser.add_argument("--json", type=Path, help="where the figures go; a file that is there is left alone")
    parser.add_argument("--cells", help="measure a list of cells: final")
    parser.add_argument("--show", help="print the table of a list of cells")
    given = parser.parse_args()
    if given.cells:
        run_list(given.cells)
    elif given.show:
        print(show(given.show))
    elif given.json is None:
        parser.error("say where the figures go: --json FILE")
    elif not given.json.is_file():
        names = ("photos", "seed", "p", "classes", "resolution", "imbalance", "recipe", "control")
        cell = Cell(**{name: getattr(given, name) for name in names})
        torch.set_num_threads(1)
        made = measure_in(given.keep, cell, given.set) if given.keep else measure(cell, given.set)
        write_json(given.json, made)


if __name__ == "__main__":
    main()
