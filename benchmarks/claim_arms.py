"""Single cells of benchmarks/claim.py: a world, a CLIP, an arm. All that this benchmark needs of the package's insides.

A world is drawn and warmed up once for every CLIP, matched (a) and prompted (b) once for every λ_T, all by the
package's own pipeline. An arm is then a refinement of the warm-up weights by the loss of matching and one more term,
for as many epochs as (a) had: `Pushing` is `stages.refinement.Refinement` where each class is pushed off several text
features instead of one, or where the mask is only made small.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.cams.make import photo_cams
from semples.core.files import read_json
from semples.data.demo.world import GROUND_KINDS, write_world
from semples.evaluation.cooccurrence import Cooccurrence, CooccurrenceAccumulator
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.generators.base import Generator
from semples.judges.base import TextJudge, build_judge
from semples.judges.losses import cosine
from semples.labels.threshold import winner_map
from semples.networks.pairs import Pairs
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.context import Context
from semples.run.models import backgrounds_in, generator_in
from semples.run.photos import Source
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.training.feed import Views, tag_matrix
from semples.training.loop import train
from semples.training.task import TaggedBatch, Total, share

RECIPE = Path(__file__).parent / "recipes" / "demo-0e5ccf8.yaml"  # of the demo when these figures were made
# One scale, mirrored: CAM making would be most of the time otherwise. Training in the half precision that GPUs use, in
# which newer processors are faster too; masks, their gradients and all figures are in float32.
FAST = ("data.workers=0", "cams.scales=[1.0]", "run.precision=bf16")
ROLLS = {"other-1": 1, "other-3": 3, "other-6": 6}  # which other class's prompt each class gets
RANDOM = {"random-0": 0, "random-1": 1}
TIGHT = "prompts-tight"
POWERS = (1, 2, 4)  # of the masks that `TIGHT` learns its prompts against
PUSHED = ("prompts", TIGHT, *ROLLS, *RANDOM, "mean", "texts", "truth")  # arms with text features to be pushed off
ARMS = ("warmup", "matching", *PUSHED, "shrink")


class Pushing(Matching):
    """Matching, and λ · mean over J texts of -log(1 - cos(E_I(X_f), text)), or with no texts λ · mean of the mask.

    pushed_KJE: text features each class is pushed off, J >= 1 of each, or None to shrink.
    """

    def __init__(self, *arguments: Any, pushed_KJE: Tensor | None, weight: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("pushed", pushed_KJE)
        self.weight = weight

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        pairs = Pairs.of(batch.tags)
        mask_PSS = self.view_maker.masks(self.generator, batch, pairs)
        if len(pairs) == 0:
            return self.losses(mask_PSS, mask_PSS, pairs, total) | {"push": mask_PSS.sum().detach()}
        both = torch.cat(self.view_maker.views(batch.image, mask_PSS, pairs))
        foreground_PE, background_PE = self.judge.encode(both).chunk(2)
        terms = self.losses(foreground_PE, background_PE, pairs, total)
        if self.pushed is None:
            values_P = mask_PSS.mean(dim=(1, 2))
        else:
            pushed_PJE = self.pushed[pairs.label]  # type: ignore[index]
            values_P = self.judge.repel(foreground_PE[:, None], pushed_PJE).mean(dim=1)
        push = share(values_P, total.pairs)
        return terms | {"loss": terms["loss"] + self.weight * push, "push": push.detach()}


class TightPrompting(Prompting):
    """Prompting against background views (1 - M^g)·X, g in `POWERS`, averaged: the higher the power, the tighter the
    mask, so that more of what lies around a thing is in the view, even where (a)'s mask holds it."""

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        pairs = Pairs.of(batch.tags)
        if len(pairs) == 0:
            return super().forward(batch, total)
        learned_PE = self._features(pairs)
        separation = share(self.judge.separate(learned_PE, self.judge.targets_of(pairs)), total.pairs)
        background = torch.zeros_like(separation)
        with torch.no_grad():
            mask_PSS = self.view_maker.masks(self.generator, batch, pairs)
        for power in POWERS:
            with torch.no_grad():
                _, view_P3SS = self.view_maker.views(batch.image, mask_PSS**power, pairs)
                image_PE = self.judge.encode(view_P3SS)
            background = background + share(self.judge.attract(image_PE, learned_PE), total.pairs) / len(POWERS)
        loss = background + self.lambda_prompt * separation
        return {"loss": loss, "background": background.detach(), "separation": separation.detach()}


def trained(context: Context, stage: str) -> Generator:
    """The generator as a stage left it."""
    return generator_in(context.folder(stage), context.dataset.classes)


def judge_of(context: Context) -> TextJudge:
    """The run's CLIP, with its texts."""
    judge = build_judge(context.recipe.judge, classes=context.dataset.classes)
    assert isinstance(judge, TextJudge)
    return judge


@torch.no_grad()
def learned(context: Context, judge: TextJudge) -> Tensor:
    """Features (K,E) of the learned backgrounds."""
    vectors_KMW = backgrounds_in(context.folder("prompting"), context.dataset.classes)
    return judge.encode_backgrounds(vectors_KMW, context.recipe.prompts)


@torch.no_grad()
def ground_texts(judge: TextJudge) -> Tensor:
    """Features (W,E) of the words of all backgrounds."""
    return judge.encode_words(GROUND_KINDS)


@dataclass(frozen=True)
class Clip:
    """A CLIP under test and the generator's start weights: `folder` holds demo_clip and demo_vit, or is None for the
    shipped pair."""

    name: str
    folder: Path | None

    @property
    def settings(self) -> tuple[str, ...]:
        """Overrides of the recipe."""
        if self.folder is None:
            return ()
        return f"judge.model={self.folder / 'demo_clip'}", f"generator.start={self.folder / 'demo_vit'}"


@dataclass
class Bench:
    """One world with one CLIP at one λ_T; `out` keeps what the arms share, so a stopped program goes on where it was.

    epochs: of (a), of (b) and of every arm. lambda_background: λ_T of (a) and of every arm.
    """

    clip: Clip
    seed: int
    p: float
    lambda_background: float
    epochs: int
    out: Path
    photos: int = 300

    def recipe(self) -> Recipe:
        """The demo recipe with this CLIP, equal epochs for (a) and (c)."""
        stages = [f"{stage}.lambda_background={self.lambda_background}" for stage in ("matching", "refinement")]
        stages += [f"{stage}.epochs={self.epochs}" for stage in ("matching", "prompting", "refinement")]
        return load_recipe(RECIPE, [f"run.seed={self.seed}", *FAST, *self.clip.settings, *stages])

    @cached_property
    def warm(self) -> Context:
        """The world, and its generator warmed up: the same for every λ_T."""
        world = self.out / f"world-p{self.p:g}-seed{self.seed}"
        if not (world / "world.json").is_file():
            write_world(world, photos={"train": self.photos}, seed=self.seed, p=self.p)
        context = Context(self.recipe(), Source(world), self.out / self.clip.name / f"p{self.p:g}-seed{self.seed}")
        pipeline.run(context, steps=["data", "warmup"])
        return context

    @cached_property
    def matched(self) -> Context:
        """(a) at this λ_T."""
        out = self.warm.out.with_name(f"{self.warm.out.name}-T{self.lambda_background:g}-{self.epochs}")
        for step in ("data", "warmup"):
            if not (out / step).is_dir():
                shutil.copytree(self.warm.out / step, out / step)
        context = replace(self.warm, out=out)
        pipeline.run(context, steps=["data", "warmup", "matching"])
        return context

    @cached_property
    def prompted(self) -> Context:
        """(b) after it."""
        pipeline.run(self.matched, steps=["prompting"])
        return self.matched

    # ------------------------------------------------------------------------------------------------------- arms

    def cell(self, arm: str, weight: float) -> dict[str, Any]:
        """All figures of an arm; `weight` is λ_R, which `warmup` and `matching` have none of."""
        if arm == "warmup":
            return self.figures(trained(self.warm, "warmup"))
        if arm == "matching":
            return self.figures(trained(self.matched, "matching"))
        figures_of_prompts = {"prompts": self.prompts_learned(arm)} if arm in ("prompts", TIGHT) else {}
        return self.figures(self.refined(arm, weight)) | figures_of_prompts

    def pushed(self, arm: str) -> Tensor | None:
        """Text features (K,J,E) that each class is pushed off, None for `shrink`."""
        if arm == "shrink":
            return None
        context = self.prompted
        judge = judge_of(context)
        learned_KE, classes_KE = self.learned_by(arm), judge.targets
        if arm in ROLLS:
            return learned_KE.roll(ROLLS[arm], dims=0)[:, None]
        if arm in RANDOM:
            aimed_K1 = cosine(learned_KE, classes_KE)[:, None]
            noise_KE = torch.randn(learned_KE.shape, generator=torch.Generator().manual_seed(RANDOM[arm]))
            across_KE = F.normalize(noise_KE - cosine(noise_KE, classes_KE)[:, None] * classes_KE, dim=-1)
            return (aimed_K1 * classes_KE + (1 - aimed_K1.square()).sqrt() * across_KE)[:, None]
        if arm == "mean":
            return F.normalize(learned_KE.mean(dim=0), dim=-1).expand_as(learned_KE)[:, None]
        words_WE = ground_texts(judge)
        if arm == "texts":
            return words_WE.expand(len(learned_KE), -1, -1)
        if arm == "truth":
            return words_WE[self.own_grounds()][:, None]
        return learned_KE[:, None]

    def learned_by(self, arm: str) -> Tensor:
        """Features (K,E) of the backgrounds that (b) learned, or that the arm learned in its own way."""
        return self._tight_KE if arm == TIGHT else learned(self.prompted, judge_of(self.prompted))

    @cached_property
    def _tight_KE(self) -> Tensor:
        context = self.matched
        settings: Any = context.recipe.prompting
        prompts = context.recipe.prompts
        task = TightPrompting(
            trained(context, "matching"),
            judge_of(context),
            prompts=prompts,
            seed=context.recipe.run.seed,
            lambda_prompt=settings.lambda_prompt,
            cam_epsilon=settings.cam_epsilon,
        )
        self.train(task, task.generator, settings, name=TIGHT)
        with torch.no_grad():
            return judge_of(context).encode_backgrounds(task.prompts.vectors.detach(), prompts)

    def refined(self, arm: str, weight: float) -> Generator:
        """The generator, trained from the warm-up weights as stage (c) is."""
        context, recipe = self.prompted, self.prompted.recipe
        generator = trained(context, "warmup")
        settings: Any = recipe.refinement
        task = Pushing(
            generator,
            judge_of(context),
            lambda_background=self.lambda_background,
            cam_epsilon=settings.cam_epsilon,
            pushed_KJE=self.pushed(arm),
            weight=weight,
        )
        self.train(task, generator, settings, name=f"{arm}-{weight:g}")
        return generator

    def train(self, task: Any, generator: Generator, settings: Any, *, name: str) -> None:
        """The package's training of a task of this benchmark, from its start: a cell is not resumed."""
        context, recipe = self.matched, self.matched.recipe
        views = Views(
            dataset=context.dataset,
            tags=tag_matrix(context.dataset),
            augment=settings.augment,
            size=generator.view_side(recipe.generator.image_size),
            mean=generator.mean,
            std=generator.std,
            seed=recipe.run.seed,
            noise_size=generator.noise_size,
        )
        folder = context.out / f"arm-{name}"
        train(
            task,
            views,
            engine=context.engine,
            settings=settings,
            run=recipe.run,
            workers=0,
            folder=folder,
            fingerprint=json.dumps([name, self.lambda_background, self.epochs]),
            label=name,
        )
        shutil.rmtree(folder)

    def prompts_learned(self, arm: str) -> dict[str, Any]:
        """What (b), or the arm in its place, found: each class's rank of its own background's word among all words,
        nearest first; mean cosines of the learned prompt with that word and with the class's text."""
        judge, grounds, classes = judge_of(self.prompted), self.own_grounds(), self.prompted.dataset.classes
        learned_KE, classes_KE, words_WE = self.learned_by(arm), judge.targets, ground_texts(judge)
        near_KW = learned_KE @ torch.cat([words_WE, classes_KE]).T
        to_own = near_KW.gather(1, torch.tensor(grounds)[:, None])
        ranks = (near_KW > to_own).sum(dim=1) + 1
        return {
            "ranks": dict(zip(classes.names, ranks.tolist(), strict=True)),
            "cosine_own_ground": round(float(to_own.mean()), 4),
            "cosine_class": round(float(cosine(learned_KE, classes_KE).mean()), 4),
        }

    def own_grounds(self) -> list[int]:
        of_class = read_json(self.warm.dataset.root / "world.json")["own_background"]
        return [GROUND_KINDS.index(of_class[name]) for name in self.warm.dataset.classes.names]

    # ---------------------------------------------------------------------------------------------------- figures

    def figures(self, generator: Any) -> dict[str, Any]:
        """Figures of the training photos' CAMs, 0..1: mIoU at the best threshold, AUC, FP-own; `full`: the same at the
        threshold where as many pixels are labelled as the truth labels."""
        scored = _Scored.of(self.warm, generator.eval(), usual_grounds=[index + 1 for index in self.own_grounds()])
        at_best, at_full = scored.best_threshold(), scored.full_threshold()
        mix_up = scored.cooccurrence(at_best)
        return {
            "miou": scored.miou(at_best),
            "threshold": at_best,
            "fp_own": mix_up.mean_fp_own,
            "auc": mix_up.mean_auc,
            "auc_per_class": dict(zip(self.warm.dataset.classes.names, mix_up.auc.tolist(), strict=True)),
            "full": {
                "miou": scored.miou(at_full),
                "threshold": at_full,
                "fp_own": scored.cooccurrence(at_full).mean_fp_own,
            },
            "mask_mean": scored.mask_mean,
        }


@dataclass(frozen=True)
class _Photo:
    cams: dict[int, NDArray[np.float32]]
    winner: NDArray[np.uint8]
    value: NDArray[np.float32]
    truth: NDArray[np.uint8]
    grounds: NDArray[np.uint8]


@dataclass(frozen=True)
class _Scored:
    """CAMs of a world's photos beside the truth.

    usual_grounds: value of each class's own background in the background masks.
    """

    photos: tuple[_Photo, ...]
    usual_grounds: list[int]
    batch: int = 20

    @classmethod
    def of(cls, context: Context, generator: Any, *, usual_grounds: list[int]) -> _Scored:
        recipe, dataset, kept = context.recipe, context.scored_dataset, list[_Photo]()
        for start in range(0, len(dataset.items), cls.batch):
            items = dataset.items[start : start + cls.batch]
            photos = [dataset.photo(item) for item in items]
            tags = [item.tags for item in items]
            maps = photo_cams(generator, photos, tags, settings=recipe.cams)
            for item, cams in zip(items, maps, strict=True):
                truth = dataset.mask(item)
                assert truth is not None
                with Image.open(dataset.root / "SegmentationBackground" / f"{item.id}.png") as picture:
                    grounds = np.asarray(picture)
                winner, value = winner_map(cams, (truth.shape[0], truth.shape[1]))
                kept.append(_Photo(cams, winner, value, truth, grounds))
        return cls(tuple(kept), usual_grounds)

    @property
    def mask_mean(self) -> float:
        """Mean of all CAMs: how full they are."""
        return float(np.mean([cam.mean() for photo in self.photos for cam in photo.cams.values()]))

    def best_threshold(self) -> float:
        curve = CurveAccumulator(len(self.usual_grounds), threshold_range(2, 99))
        for photo in self.photos:
            curve.add(photo.truth, photo.winner, photo.value)
        return curve.result().best.threshold

    def full_threshold(self) -> float:
        """Threshold above which the share of pixels is that of the things in the truth."""
        wanted = np.mean([np.mean(photo.truth > 0) for photo in self.photos])
        return float(np.quantile(np.concatenate([photo.value.ravel() for photo in self.photos]), 1 - wanted))

    def miou(self, threshold: float) -> float:
        curve = CurveAccumulator(len(self.usual_grounds), [threshold])
        for photo in self.photos:
            curve.add(photo.truth, photo.winner, photo.value)
        return curve.result().best.scores.miou / 100

    def cooccurrence(self, threshold: float) -> Cooccurrence:
        accumulator = CooccurrenceAccumulator(self.usual_grounds)
        for photo in self.photos:
            labels = np.where(photo.value > np.float32(threshold), photo.winner, 0).astype(np.uint8)
            accumulator.add(photo.cams, labels, photo.truth, photo.grounds)
        return accumulator.result()
