"""Do stages (a) to (c) help on real photos, where the judge has learned from the tags and knows no text?

    OMP_NUM_THREADS=1 python benchmarks/real_tags.py --data DIR --json F [--splits 3] [--photos 120] [--half develop]

As in benchmarks/real.py photos are divided into two halves, and a split draws some of one. The generator is warmed up,
the judge `tags` learns, (a) and (b) follow; then (c) starts from the warm-up weights as often as there are arms, each
as long as (a), with equal weight on its last term:

    own      each class is pushed off the background that (b) learned for it
    other    off another class's
    random   off a random direction with the same cosine to the class

Figures of the CAMs, 0..1: `miou` at the threshold that is best by masks; `full`, where as many pixels are labelled as
the truth labels, so that shrinking alone wins nothing; `kept`, of the pixels of skin and hair (DIR/others) the share
that `full` labels. Finished cells (F.cells) are not computed again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from real import RECIPE, warm_up, weights
from real_split import Split, digest, drawn, looked_at, share
from semples.cams.make import photo_cams
from semples.core.files import write_json
from semples.data.dataset import open_dataset
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.generators.base import Generator, load_generator, save_generator
from semples.judges.base import build_judge, load_learned, save_learned
from semples.judges.losses import cosine
from semples.judges.tags import TagJudge, describe
from semples.labels.threshold import winner_map
from semples.recipe import PromptSettings, RunSettings
from semples.settings.judges import TagJudgeSettings
from semples.settings.stages import MatchingSettings, PromptingSettings, RefinementSettings, StageSettings
from semples.stages.background_prompts import BackgroundPrompts, load_prompts
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.training.engine import Engine
from semples.training.feed import Views, tag_matrix
from semples.training.loop import train

JUDGE = TagJudgeSettings(image_size=128)
AUGMENT = RECIPE.warmup.augment
COMMON: dict[str, Any] = {"epochs": 2, "batch": 8, "base_lr": 0.1, "augment": AUGMENT}
MATCHING = MatchingSettings(**COMMON, lambda_background=0.75)
PROMPTING = PromptingSettings(**COMMON)
REFINEMENT = RefinementSettings(**COMMON, lambda_background=0.75, lambda_refinement=0.2)
PROMPTS = PromptSettings(length=1)
ARMS = ("own", "other", "random")
SKIN_AND_HAIR = ("skin", "hair")


class Bench:
    """One split: what its cells share."""

    def __init__(self, split: Split) -> None:
        self.split = split

    @cached_property
    def judge(self) -> TagJudge:
        """The judge that has learned, from its file where that is there."""
        made = build_judge(JUDGE, classes=self.split.photos.classes)
        assert isinstance(made, TagJudge)
        path = self.split.folder / "judge.safetensors"
        if not path.is_file():
            made.learn_from(self.split.photos, seed=self.split.seed)
            save_learned(made, path)
        load_learned(made, path)
        return made

    def warmed(self) -> Generator:
        return load_generator(weights(self.split))

    def learn(self) -> dict[str, Any]:
        """Cell of the judge: its calibration."""
        return describe(self.judge)

    def match(self) -> dict[str, Any]:
        """Stage (a)."""
        stage = Matching(self.warmed(), self.judge, lambda_background=MATCHING.lambda_background)
        self._train(stage, MATCHING, "matching")
        save_generator(stage.generator, self.split.folder / "matching.safetensors")
        return self.figures(stage.generator)

    def prompt(self) -> dict[str, Any]:
        """Stage (b) on the generator of (a)."""
        matched = load_generator(self.split.folder / "matching.safetensors")
        stage = Prompting(matched, self.judge, prompts=PROMPTS, seed=self.split.seed)
        self._train(stage, PROMPTING, "prompting")
        stage.prompts.save(self.split.folder / "prompts.safetensors", classes=self.split.photos.classes.names)
        learned_KE, classes_KE = self.learned(), self.judge.targets
        return {"cosine_class": round(float(cosine(learned_KE, classes_KE).mean()), 4)}

    @torch.no_grad()
    def learned(self) -> Tensor:
        """Features (K,E) of the learned backgrounds."""
        vectors_KMW, _ = load_prompts(self.split.folder / "prompts.safetensors")
        return self.judge.encode_backgrounds(BackgroundPrompts(vectors_KMW).vectors.detach(), PROMPTS)

    def arm(self, name: str) -> dict[str, Any]:
        """Stage (c) of an arm."""
        learned_KE, classes_KE = self.learned(), self.judge.targets
        pushed = {"own": learned_KE, "other": learned_KE.roll(1, dims=0), "random": at_cosine(learned_KE, classes_KE)}
        stage = Refinement(
            self.warmed(),
            self.judge,
            pushed[name],
            lambda_background=REFINEMENT.lambda_background,
            lambda_refinement=REFINEMENT.lambda_refinement,
        )
        self._train(stage, REFINEMENT, f"refinement-{name}")
        return self.figures(stage.generator)

    def _train(self, stage: Stage, settings: StageSettings, name: str) -> None:
        generator, run = stage.generator, RunSettings(seed=self.split.seed)
        views = Views(
            dataset=self.split.photos,
            tags=tag_matrix(self.split.photos),
            augment=settings.augment,
            size=generator.view_side(RECIPE.generator.image_size),
            mean=generator.mean,
            std=generator.std,
            seed=self.split.seed,
            noise_size=generator.noise_size,
        )
        train(
            stage,
            views,
            engine=Engine.start(run),
            settings=settings,
            run=run,
            workers=0,
            folder=self.split.folder / name,
            fingerprint=digest(repr((settings, JUDGE, name))),
            label=name,
        )

    # ---------------------------------------------------------------------------------------------------- figures

    def figures(self, generator: Generator) -> dict[str, Any]:
        """Figures of the CAMs, as this module says."""
        generator.eval()
        winners, values, truths, others = [], [], [], []
        for item, photo, truth in looked_at(self.split.photos):
            cams = photo_cams(generator, [photo], [item.tags], settings=replace(RECIPE.cams, scales=(1.0,)))[0]
            winner, value = winner_map(cams, truth.shape)
            winners.append(winner)
            values.append(value.clip(0, 1))
            truths.append(truth)
            others.append(skin_and_hair(self.split.photos.root, item.id, truth.shape))
        wanted = np.concatenate([truth.ravel() > 0 for truth in truths if truth is not None]).mean()
        at_full = float(np.quantile(np.concatenate([value.ravel() for value in values]), 1 - wanted))
        curve = CurveAccumulator(self.split.classes, [*threshold_range(2, 96)])
        full = CurveAccumulator(self.split.classes, [at_full])
        for truth, winner, value in zip(truths, winners, values, strict=True):
            curve.add(truth, winner, value)
            full.add(truth, winner, value)
        labelled = [value > at_full for value in values]
        skin = sum(int(other.sum()) for other in others)
        kept = sum(int((other & mask).sum()) for other, mask in zip(others, labelled, strict=True))
        best = curve.result().best
        return {
            "miou": share(best.scores.miou),
            "threshold": best.threshold,
            "full": share(full.result().best.scores.miou),
            "full_threshold": round(at_full, 4),
            "kept": round(kept / skin, 4) if skin else None,
            "mask_mean": round(float(np.mean([value.mean() for value in values])), 4),
        }


def at_cosine(learned_KE: Tensor, classes_KE: Tensor) -> Tensor:
    """Random directions with the cosines that the learned ones have with their classes."""
    aimed_K1 = cosine(learned_KE, classes_KE)[:, None]
    noise_KE = torch.randn(learned_KE.shape, generator=torch.Generator().manual_seed(0))
    across_KE = F.normalize(noise_KE - cosine(noise_KE, classes_KE)[:, None] * classes_KE, dim=-1)
    return aimed_K1 * classes_KE + (1 - aimed_K1.square()).sqrt() * across_KE


def skin_and_hair(root: Path, id: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels of skin and hair by the full label maps, bool (H,W); none where there are no such maps."""
    names = root / "others.txt"
    path = root / "others" / f"{Path(id).name}.png"
    if not names.is_file() or not path.is_file():
        return np.zeros(shape, bool)
    listed = [line.split()[-1] for line in names.read_text(encoding="utf-8").splitlines() if line.strip()]
    wanted = [listed.index(name) for name in SKIN_AND_HAIR]
    with Image.open(path) as picture:
        values = np.asarray(picture)
    return np.isin(values, wanted)


def measure(split: Split) -> dict[str, Any]:
    """All cells of a split."""
    bench = Bench(split)
    split.cell("warmup", partial(warm_up, split))
    cells: dict[str, Callable[[], dict[str, Any]]] = {
        "tags-judge": bench.learn,
        "tags-warmup": lambda: bench.figures(bench.warmed()),
        "tags-matching": bench.match,
        "tags-prompting": bench.prompt,
    } | {f"tags-{name}": partial(bench.arm, name) for name in ARMS}
    return {name.removeprefix("tags-"): split.cell(name, compute) for name, compute in cells.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--half", choices=("develop", "report"), default="report")
    chosen = parser.parse_args()
    dataset = open_dataset(chosen.data)
    cells = chosen.json.with_name(f"{chosen.json.name}.cells")
    results = []
    for number in range(chosen.splits):
        split = drawn(dataset, half=chosen.half, split=number, count=chosen.photos, folder=cells)
        results.append(measure(split))
        write_json(chosen.json, {"splits": results})
        print(results[-1], flush=True)


if __name__ == "__main__":
    main()
