"""Which terms of the losses does what: the missing cells of the paper's ablation, at equal steps, on drawn worlds.

Stage (c) has three terms: *keep* (the view through the mask looks like the class), *leave* (the view of the rest does
not) and *prompt* (the view through the mask does not look like the learned background); stage (b) has two: *image* (the
prompt looks like the view of the rest) and *text* (it does not look like the class's own text). A cell trains the
warm-up weights with some of the former, with prompts learned by some of the latter:

    keep, leave, keep+prompt, leave+prompt, prompt                  prompts by both terms
    keep+leave, keep+leave+prompt                                   (a) and (c)
    keep+leave+prompt, prompts by `image` alone or `text` alone

    python benchmarks/ablation.py run --clips shipped FOLDER --worlds 200 201
    python benchmarks/ablation.py show

CLIPs, worlds, λ_T and λ_R, steps and figures are those of benchmarks/claim.py, whose shared work (--work) and results
are used; finished cells are skipped.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from claim import EPOCHS, P, clip_of, shown
from claim_arms import Bench, judge_of, trained
from semples.core.files import read_json, write_json
from semples.networks.pairs import Pairs
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.training.task import TaggedBatch, Total, share

RESULTS = Path(__file__).parent / "results" / "ablation"
LEAVE, PROMPT = 2.4, 0.2  # λ_T and λ_R, as chosen by `claim.py tune`
TERMS = ("keep", "leave", "prompt")
BOTH = "image+text"
CELLS = (
    ("keep", BOTH),
    ("leave", BOTH),
    ("prompt", BOTH),
    ("keep+leave", BOTH),
    ("keep+prompt", BOTH),
    ("leave+prompt", BOTH),
    ("keep+leave+prompt", BOTH),
    ("keep+leave+prompt", "image"),
    ("keep+leave+prompt", "text"),
)


class Terms(Matching):
    """Stage (c) with each term at a weight of its own. prompts_KE: features of the learned backgrounds."""

    def __init__(
        self, *arguments: Any, prompts_KE: Tensor, weights: tuple[float, float, float], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("prompts", prompts_KE)
        self.weights = weights

    def losses(self, foreground_PE: Tensor, background_PE: Tensor, pairs: Pairs, total: Total) -> dict[str, Tensor]:
        if len(pairs) == 0:
            return super().losses(foreground_PE, background_PE, pairs, total)
        target_PE, prompt_PE = self.judge.targets_of(pairs), self.prompts[pairs.label]  # type: ignore[index]
        values = (
            self.judge.attract(foreground_PE, target_PE),
            self.judge.repel(background_PE, target_PE),
            self.judge.repel(foreground_PE, prompt_PE),
        )
        terms = [share(value_P, total.pairs) for value_P in values]
        loss = torch.stack([weight * term for weight, term in zip(self.weights, terms, strict=True)]).sum()
        return {"loss": loss} | {name: term.detach() for name, term in zip(TERMS, terms, strict=True)}


class TextPrompting(Prompting):
    """Stage (b) without photos: prompts are kept off their class's text, and that is all."""

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        terms = super().forward(batch, total)
        pairs = Pairs.of(batch.tags)
        if len(pairs) == 0:
            return terms
        apart_P = self.judge.separate(self._features(pairs), self.judge.targets_of(pairs))
        return terms | {"loss": self.lambda_prompt * share(apart_P, total.pairs)}


def prompts_by(bench: Bench, terms: str) -> Tensor:
    """Features (K,E) of backgrounds learned by these terms of stage (b)."""
    if terms == BOTH:
        return bench.learned_by("prompts")
    context = bench.matched
    settings: Any = context.recipe.prompting
    task = (Prompting if terms == "image" else TextPrompting)(
        trained(context, "matching"),
        judge_of(context),
        prompts=context.recipe.prompts,
        seed=context.recipe.run.seed,
        lambda_prompt=0.0 if terms == "image" else settings.lambda_prompt,
        cam_epsilon=settings.cam_epsilon,
    )
    bench.train(task, task.generator, settings, name=f"prompts by {terms}")
    with torch.no_grad():
        return judge_of(context).encode_backgrounds(task.prompts.vectors.detach(), context.recipe.prompts)


def cell(bench: Bench, terms: str, prompts: str) -> dict[str, Any]:
    """All figures of a cell."""
    context = bench.matched
    settings: Any = context.recipe.refinement
    named = terms.split("+")
    generator = trained(context, "warmup")
    task = Terms(
        generator,
        judge_of(context),
        prompts_KE=prompts_by(bench, prompts),
        weights=(float("keep" in named), LEAVE * ("leave" in named), PROMPT * ("prompt" in named)),
        cam_epsilon=settings.cam_epsilon,
    )
    bench.train(task, generator, settings, name=f"terms {terms} {prompts}")
    return bench.figures(generator)


def run(clips: Sequence[str], worlds: Sequence[int], *, results: Path, work: Path) -> None:
    """Every cell that has no file yet."""
    for seed in worlds:
        for clip in map(clip_of, clips):
            bench = Bench(clip, seed, P, LEAVE, EPOCHS, work)
            for terms, prompts in CELLS:
                path = results / clip.name / f"world{seed}-{terms}-by-{prompts}.json"
                if path.is_file():
                    continue
                key = {"clip": clip.name, "seed": seed, "terms": terms, "prompts": prompts}
                write_json(path, key | cell(bench, terms, prompts))
                print(f"{clip.name} {path.stem}: mIoU {read_json(path)['miou']:.3f}", flush=True)


def show(results: Path) -> str:
    """A table for every CLIP: means over its worlds, and differences to (a) paired by world."""
    lines: list[str] = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        cells = [read_json(path) for path in sorted(folder.glob("world*.json"))]
        by_cell = {
            pair: {one["seed"]: one for one in cells if (one["terms"], one["prompts"]) == pair} for pair in CELLS
        }
        worlds = sorted(set.intersection(*(set(of_cell) for of_cell in by_cell.values())))
        lines += [f"\n{folder.name}, worlds {', '.join(map(str, worlds))}\n"]
        lines += ["| terms of (c) | prompts by | mIoU | AUC | FP-own | mIoU, equal fullness | mIoU - (a) | AUC - (a) |"]
        lines += ["|---|---|" + "--:|" * 6]
        matched = by_cell["keep+leave", BOTH]
        for (terms, prompts), mine in by_cell.items():
            rows = [mine[seed] for seed in worlds]
            means = [statistics.mean(row[figure] for row in rows) for figure in ("miou", "auc", "fp_own")]
            means += [statistics.mean(row["full"]["miou"] for row in rows)]
            gains = [shown([mine[seed][f] - matched[seed][f] for seed in worlds]) for f in ("miou", "auc")]
            columns = [prompts if "prompt" in terms else "", *(f"{mean:.3f}" for mean in means)]
            lines += [f"| {' | '.join([terms, *columns, *(gains if terms != 'keep+leave' else ['', ''])])} |"]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "show"))
    parser.add_argument("--clips", nargs="+", default=["shipped"])
    parser.add_argument("--worlds", type=int, nargs="+", default=[200, 201])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("runs/claim"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "show":
        print(show(arguments.results))
        return
    run(arguments.clips, arguments.worlds, results=arguments.results, work=arguments.work)


if __name__ == "__main__":
    main()
