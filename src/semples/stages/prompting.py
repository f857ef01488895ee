"""Stage (b), contrastive prompt learning: each class learns the background that comes with it (SemPLeS sec. 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from semples.evaluation.verdict import Verdict
from semples.evaluation.verdicts import Figures, of_backgrounds
from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.recipe import PromptingSettings, PromptSettings
from semples.stages.background_prompts import BackgroundPrompts
from semples.stages.base import Parts, Stage, stage_options
from semples.stages.prompt_files import start_prompts
from semples.stages.views import ViewMaker
from semples.training.task import TaggedBatch, Total, share


class Prompting(Stage):
    """Trains the backgrounds only: mean -log cos(E_I(X_b), E_T(p_k)) + λ_P · mean log cos(E_T(p_k), t_k).

    The generator is that of stage (a), frozen and in eval mode. prompts: settings of the learned backgrounds; seed: of
    their start.
    """

    Settings = PromptingSettings

    def __init__(
        self,
        generator: Generator,
        judge: Judge,
        *,
        prompts: PromptSettings | None = None,
        seed: int = 0,
        lambda_prompt: float = 0.02,
        cam_epsilon: float | str = 1e-4,
    ) -> None:
        super().__init__()
        self.settings = prompts or PromptSettings()
        self.prompts = BackgroundPrompts(judge.start_backgrounds(self.settings, seed=seed))
        self.generator = generator
        self.judge = judge
        self.view_maker = ViewMaker.of(judge, epsilon=cam_epsilon, mean=generator.mean, std=generator.std)
        self.lambda_prompt = lambda_prompt

    @classmethod
    def of_run(cls, parts: Parts, settings: Any) -> Self:
        judge = parts.judge()
        generator = parts.generator_after("matching")
        made = cls(generator, judge, prompts=parts.prompts, seed=parts.seed, **stage_options(settings))
        start_prompts(made.prompts, parts.prompts.start, classes=parts.classes.names)
        return made

    @classmethod
    def verdict(cls, figures: Figures, before: Figures, data: Figures) -> Verdict:
        return of_backgrounds(figures)

    @property
    def backgrounds(self) -> BackgroundPrompts:
        return self.prompts

    def train(self, mode: bool = True) -> Self:
        """Only the backgrounds learn: the generator stays in eval mode."""
        super().train(mode)
        self.generator.eval()
        return self

    def trained(self) -> Iterable[nn.Parameter]:
        return self.prompts.parameters()

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        pairs = batch.pairs
        if len(pairs) == 0:
            zero = self.prompts.vectors.sum() * 0.0
            return {"loss": zero, "background": zero.detach(), "separation": zero.detach()}
        with torch.no_grad():
            mask_PSS = self.view_maker.masks(self.generator, batch, pairs)
            _, background_P3SS = self.view_maker.views(batch.image, mask_PSS, pairs)
            image_PE = self.judge.encode_shown(background_P3SS, 1 - mask_PSS.mean(dim=(1, 2)))
        learned_PE = self._features(pairs)
        background = share(self.judge.attract(image_PE, learned_PE), total.pairs)
        separation = share(self.judge.separate(learned_PE, self.judge.targets_of(pairs)), total.pairs)
        return {
            "loss": background + self.lambda_prompt * separation,
            "background": background.detach(),
            "separation": separation.detach(),
        }

    def _features(self, pairs: Pairs) -> Tensor:
        """Features (P,E) of the learned backgrounds; a class that several photos show is encoded once."""
        classes, position_P = pairs.distinct()
        return self.judge.encode_backgrounds(self.prompts(classes), self.settings)[position_P]
