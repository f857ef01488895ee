"""The test of the paper's claim, made fair: do learned background prompts push the background out of masks, and where
between a CLIP without co-occurrence bias and one that is all bias?

CLIPs come from scripts/bias_tiny_clip.py, together with start weights of the generator (the same biased tower). Every
arm starts from the same warm-up, has as many steps as (a), and its λ is chosen from as many values on worlds that are
not used for the final table, once for all CLIPs:

    warmup     the generator before CLIP                    matching   (a)
    prompts    (c), each class's own learned prompt         other-1/3/6  (c) with another class's prompt
    prompts-tight  as prompts, learned against masks of several tightnesses (an attempt to mend the method)
    random-0/1 a random vector with the prompt's cosine     mean       the mean of all classes' prompts
               to the class's text                          texts      fixed texts: all kinds of background
    truth      the word of the true own background          shrink     no text: the mask is made small

Figures on the training photos: AUC, FP-own and mIoU (benchmarks/cooccurrence.py), and mIoU and FP-own at *equal
fullness*, where exactly as many pixels are labelled as the truth has on things, so that no arm gains by size alone.

    python benchmarks/claim.py tune --clips shipped work/claim/p0.9-q0.3-seed0/step-00040 --worlds 0 1 2
    python benchmarks/claim.py run --clips ... --worlds 200 201 202 203 204
    python benchmarks/claim.py choose --clips ...
    python benchmarks/claim.py show

`tune` tries (a) at every λ_T, then every arm at every λ with the λ_T of the best (a), by mean mIoU over all CLIPs and
worlds it was given; `run` takes what came out best (`choose` says what). With --background `tune` tries the arms at
those λ_T. `show` has a table for every degree of bias, over its CLIPs and their worlds.
Every cell is a JSON file in --results, finished cells are skipped, so a stopped benchmark goes on where it was;
`--share 1/2` and `--share 2/2` split the CLIPs between two processes. --work keeps what arms share. Worlds below 100
are for choosing, those from 200 on for the table. A cell takes about 35 seconds of one core.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from claim_arms import ARMS, ROLLS, Bench, Clip
from semples.core.files import read_json, write_json
from semples.inspect.comparison import interval

RESULTS = Path(__file__).parent / "results" / "claim"
TUNING_BELOW = 100
BACKGROUND = (1.0, 0.3, 0.0, 2.4)  # λ_T that (a) is tuned over
PUSH = (0.2, 0.05, 1.0)  # λ that every other arm is tuned over
P, EPOCHS = 0.9, 6
DEGREES = (0.43, 0.65, 0.75, 0.85)  # of bias: cosine of the scene without its thing, over that of the thing alone
FIGURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "mIoU": lambda cell: cell["miou"],
    "mIoU, equal fullness": lambda cell: cell["full"]["miou"],
    "AUC": lambda cell: cell["auc"],
    "FP-own": lambda cell: cell["fp_own"],
    "FP-own, equal fullness": lambda cell: cell["full"]["fp_own"],
}


@dataclass(frozen=True)
class Cell:
    """One arm at one λ_T and λ; what an arm has none of is None."""

    arm: str
    lambda_background: float | None = None
    weight: float | None = None

    @property
    def name(self) -> str:
        """Part of the file's name."""
        parts = [self.arm]
        parts += [f"T{self.lambda_background:g}"] if self.lambda_background is not None else []
        parts += [f"R{self.weight:g}"] if self.weight is not None else []
        return "-".join(parts)


@dataclass(frozen=True)
class Results:
    """The folder of finished cells, one JSON a cell, apart for each p of the task and number of epochs."""

    folder: Path
    p: float = P
    epochs: int = EPOCHS

    def path(self, clip: str, seed: int, cell: Cell) -> Path:
        """Where a cell lies."""
        return self.folder / f"p{self.p:g}-E{self.epochs}" / clip / f"world{seed}-{cell.name}.json"

    def read(self) -> list[dict[str, Any]]:
        """All finished cells of this p and these epochs."""
        return [read_json(path) for path in sorted(self.folder.glob(f"p{self.p:g}-E{self.epochs}/*/world*.json"))]


def cell_of(stored: dict[str, Any]) -> Cell:
    """The cell of a stored result."""
    return Cell(stored["arm"], stored["lambda_background"], stored["lambda"])


def clip_of(text: str) -> Clip:
    """`shipped`, or a folder that holds demo_clip and demo_vit, named after itself and the run it lies in."""
    if text == "shipped":
        return Clip("shipped", None)
    folder = Path(text).resolve()
    for part in ("demo_clip", "demo_vit"):
        if not (folder / part).is_dir():
            raise SystemExit(f"{text}: holds no {part}; give a folder that scripts/bias_tiny_clip.py left")
    return Clip(f"{folder.parent.name}-{folder.name}", folder)


def chosen_cells(cells: Sequence[dict[str, Any]], arms: Sequence[str]) -> dict[str, Cell]:
    """For every arm the cell with the best mean mIoU over all CLIPs' worlds for choosing: λ_T is that of the best (a),
    then each arm's λ. A cell counts where it has as many worlds as the arm's best known one."""
    means: dict[Cell, list[float]] = {}
    for stored in cells:
        if stored["seed"] < TUNING_BELOW:
            means.setdefault(cell_of(stored), []).append(stored["miou"])
    chosen: dict[str, Cell] = {}
    for arm in sorted(arms, key=ARMS.index):
        of_arm = {cell: values for cell, values in means.items() if cell.arm == arm}
        if arm not in ("warmup", "matching") and "matching" in chosen:
            background = chosen["matching"].lambda_background
            of_arm = {cell: values for cell, values in of_arm.items() if cell.lambda_background == background}
        if of_arm:
            worlds = max(len(values) for values in of_arm.values())
            whole = {cell: values for cell, values in of_arm.items() if len(values) == worlds}
            chosen[arm] = max(whole, key=lambda cell: statistics.mean(whole[cell]))
    return chosen


def run(results: Results, clip: Clip, seed: int, cells: Iterable[Cell], work: Path) -> None:
    """Every cell of a CLIP and a world that is not finished."""
    benches: dict[float, Bench] = {}
    for cell in cells:
        path = results.path(clip.name, seed, cell)
        if path.is_file():
            continue
        background = BACKGROUND[0] if cell.lambda_background is None else cell.lambda_background
        bench = benches.setdefault(background, Bench(clip, seed, results.p, background, results.epochs, work))
        figures = bench.cell(cell.arm, cell.weight or 0.0)
        key = {"clip": clip.name, "seed": seed, "p": results.p, "arm": cell.arm, "epochs": results.epochs}
        key |= {"lambda_background": cell.lambda_background, "lambda": cell.weight}
        write_json(path, key | figures)
        print(f"{clip.name} {path.stem}: mIoU {figures['miou']:.3f}, AUC {figures['auc']:.3f}", flush=True)


def tune(results: Results, clips: Sequence[Clip], arguments: argparse.Namespace) -> None:
    """With every CLIP on every world (a) at every λ_T, then every other arm at every λ with the λ_T of the best (a)."""
    first = [Cell("matching", weight) for weight in arguments.background or BACKGROUND]
    first += [Cell("warmup")] if "warmup" in arguments.arms else []
    pairs = [(clip, seed) for clip in clips for seed in arguments.worlds]
    for clip, seed in pairs:
        run(results, clip, seed, first, arguments.work)
    best = chosen_cells(results.read(), ["matching"])["matching"].lambda_background
    arms = [arm for arm in arguments.arms if arm not in ("warmup", "matching")]
    rest = [Cell(arm, b, push) for b in arguments.background or [best] for arm in arms for push in arguments.push]
    for clip, seed in pairs:
        run(results, clip, seed, rest, arguments.work)


# ------------------------------------------------------------------------------------------------------------- tables


Pair = tuple[str, int]  # a CLIP's name and a world's seed
Pairs = dict[Pair, dict[str, Any]]


def degree(results: Results, clip: str) -> float:
    """The nearest of `DEGREES` to what bias_tiny_clip.py measured of a CLIP."""
    measured: float = read_json(results.folder / "bias" / f"{clip}.json")["removed_to_alone"]
    return min(DEGREES, key=lambda one: abs(one - measured))


def show(results: Results) -> str:
    """For every degree of bias a table of arms at their chosen λ, each on the CLIPs and worlds of the final table that
    it has, with its difference to (a); then what own prompts are beyond each control. Differences are paired."""
    cells, lines = results.read(), list[str]()
    chosen = chosen_cells(cells, ARMS)
    final = [cell for cell in cells if cell["seed"] >= TUNING_BELOW]
    for one in DEGREES:
        mine = [cell for cell in final if degree(results, cell["clip"]) == one]
        if not mine:
            continue
        clips = sorted({cell["clip"] for cell in mine})
        lines += [
            f"\nRemoved / alone about {one:g} ({', '.join(clips)})\n",
            f"| arm | λ_T | λ | worlds | pairs | {' | '.join(FIGURES)} | mIoU - (a) | AUC - (a) |",
            "|" + "---|" * (7 + len(FIGURES)),
        ]
        tables = {arm: _by_pair(mine, cell) for arm, cell in chosen.items()}
        lines += [_row(chosen[arm], pairs, tables["matching"]) for arm, pairs in tables.items() if pairs]
        lines += ["", f"| own prompts less | worlds | {' | '.join(FIGURES)} |", "|---|" + "---|" * (1 + len(FIGURES))]
        prompts = tables.get("prompts", {})
        controls = {arm: [pairs] for arm, pairs in tables.items() if arm not in ("warmup", "prompts") and pairs}
        controls["mean of other-1, -3, -6"] = [tables[arm] for arm in ROLLS if tables.get(arm)]
        lines += [_beyond(arm, prompts, pairs) for arm, pairs in controls.items() if pairs and prompts]
    return "\n".join(lines)


def _beyond(arm: str, prompts: Pairs, others: Sequence[Pairs]) -> str:
    """What own prompts are beyond a control, or beyond the mean of several."""
    both = sorted(set(prompts).intersection(*others))
    columns = [
        differences({p: figure(prompts[p]) - statistics.mean(figure(other[p]) for other in others) for p in both})
        for figure in FIGURES.values()
    ]
    return f"| {arm} | {len({seed for _, seed in both})} | {' | '.join(columns)} |"


def differences(by_pair: dict[Pair, float]) -> str:
    """Mean of differences and half its 95 % interval over worlds: CLIPs that share a world are averaged first."""
    by_world: dict[int, list[float]] = {}
    for (_, seed), value in by_pair.items():
        by_world.setdefault(seed, []).append(value)
    return shown([statistics.mean(values) for values in by_world.values()])


def shown(values: Sequence[float]) -> str:
    """Mean and half width of its 95 % interval."""
    if len(values) < 2:
        return " ".join(f"{one:+.3f}" for one in values)
    of_mean = interval(values)
    assert of_mean is not None
    return f"{of_mean.mean:+.3f} ± {of_mean.half:.3f}"


def _by_pair(cells: Sequence[dict[str, Any]], wanted: Cell) -> Pairs:
    return {(cell["clip"], cell["seed"]): cell for cell in cells if cell_of(cell) == wanted}


def _row(cell: Cell, pairs: Pairs, matching: Pairs) -> str:
    means = [f"{statistics.mean(figure(one) for one in pairs.values()):.3f}" for figure in FIGURES.values()]
    both = sorted(set(pairs) & set(matching)) if cell.arm != "matching" else []
    gains = [
        differences({pair: FIGURES[name](pairs[pair]) - FIGURES[name](matching[pair]) for pair in both})
        for name in ("mIoU", "AUC")
    ]
    weights = ["" if weight is None else f"{weight:g}" for weight in (cell.lambda_background, cell.weight)]
    counts = [str(len({seed for _, seed in pairs})), str(len(pairs))]
    return f"| {' | '.join([cell.arm, *weights, *counts, *means, *gains])} |"


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "run", "choose", "show"))
    parser.add_argument("--clips", nargs="+", default=["shipped"])
    parser.add_argument("--worlds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--background", type=float, nargs="+", help=f"λ_T; default {BACKGROUND}, then the best")
    parser.add_argument("--push", type=float, nargs="+", default=list(PUSH), help="λ of the arms")
    parser.add_argument("--p", type=float, default=P, help="co-occurrence of the task's photos")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of (a), of (b) and of every arm")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("runs/claim"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--share", default="1/1")
    return parser.parse_args()


def main() -> None:
    """Tune, run, choose or show."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    results = Results(arguments.results, arguments.p, arguments.epochs)
    if arguments.what == "show":
        print(show(results))
        return
    part, count = (int(number) for number in arguments.share.split("/"))
    clips = [clip_of(text) for text in arguments.clips][part - 1 :: count]
    if arguments.what == "tune":
        tune(results, clips, arguments)
        return
    chosen = chosen_cells(results.read(), arguments.arms)
    if not chosen:
        raise SystemExit("nothing is tuned yet; see `claim.py tune`")
    if arguments.what == "choose":
        for arm, cell in chosen.items():
            print(f"{arm}: λ_T {cell.lambda_background}, λ {cell.weight}")
        return
    for seed in arguments.worlds:
        for clip in clips:
            run(results, clip, seed, chosen.values(), arguments.work)


if __name__ == "__main__":
    main()
