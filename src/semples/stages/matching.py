"""Stage (a), segment-label matching: the judge says what the masks keep and what they leave (SemPLeS sec. 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from semples.evaluation.verdict import Verdict
from semples.evaluation.verdicts import Figures, of_masks
from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.recipe import MatchingSettings
from semples.stages.averages import Averages, check_averages
from semples.stages.base import Parts, Stage, stage_options
from semples.stages.views import ViewMaker
from semples.training.task import TaggedBatch, Total, share


class Matching(Stage):
    """Trains the generator: mean -log cos(E_I(X_f), t_k) + λ_T · mean -log(1 - cos(E_I(X_b), t_k)).

    t_k are the judge's targets of the classes; cos is its likeness. cam_epsilon, mask_scales: how CAMs become a mask
    (`views`). average: what is passed on are running averages of the trained weights (`averages`).
    """

    Settings = MatchingSettings

    def __init__(
        self,
        generator: Generator,
        judge: Judge,
        *,
        lambda_background: float = 2.4,
        cam_epsilon: float | str = 0.1,
        mask_scales: tuple[float, ...] = (1.0,),
        average: float = 0.0,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.judge = judge.lean()
        self.view_maker = ViewMaker.of(
            judge, epsilon=cam_epsilon, mean=generator.mean, std=generator.std, scales=mask_scales
        )
        self.lambda_background = lambda_background
        self.averages = Averages(average)

    @classmethod
    def of_run(cls, parts: Parts, settings: Any) -> Self:
        check_averages(settings)
        return cls(parts.generator_after("warmup"), parts.judge(), **stage_options(settings))

    @classmethod
    def verdict(cls, figures: Figures, before: Figures, data: Figures) -> Verdict:
        return of_masks(figures, before, data)

    def trained(self) -> Iterable[nn.Parameter]:
        return self.generator.train_parameters()

    def kept(self) -> dict[str, Tensor]:
        return self.averages.of(self.trained())

    def after_step(self, step: int) -> None:
        self.averages.step(self.trained(), step)

    def finish(self) -> None:
        self.averages.put_into(self.trained())

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        pairs = batch.pairs
        mask_PSS = self.view_maker.masks(self.generator, batch, pairs)
        if len(pairs) == 0:
            return self.losses(mask_PSS, mask_PSS, pairs, total)
        both = torch.cat(self.view_maker.views(batch.image, mask_PSS, pairs))
        area_P = mask_PSS.mean(dim=(1, 2))
        foreground_PE, background_PE = self.judge.encode_shown(both, torch.cat([area_P, 1 - area_P])).chunk(2)
        return self.losses(foreground_PE, background_PE, pairs, total)

    def losses(self, foreground_PE: Tensor, background_PE: Tensor, pairs: Pairs, total: Total) -> dict[str, Tensor]:
        """The two terms from the judge's features of both views; without pairs every one is 0."""
        if len(pairs) == 0:
            zero = foreground_PE.sum()
            return {"loss": zero, "foreground": zero.detach(), "background": zero.detach()}
        target_PE = self.judge.targets_of(pairs)
        foreground = share(self.judge.attract(foreground_PE, target_PE), total.pairs)
        background = share(self.judge.repel(background_PE, target_PE), total.pairs)
        return {
            "loss": foreground + self.lambda_background * background,
            "foreground": foreground.detach(),
            "background": background.detach(),
        }
