"""Stage (c), prompt-guided refinement: matching, and what is kept must not look like the class's background
(SemPLeS sec. 3.4)."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.recipe import RefinementSettings
from semples.stages.averages import check_averages
from semples.stages.base import Parts, stage_options
from semples.stages.matching import Matching
from semples.training.task import Total, share


class Refinement(Matching):
    """Trains the generator from the warm-up weights: L_a + λ_R · mean -log(1 - cos(E_I(X_f), E_T(p_k))).

    backgrounds (K,E): the judge's features E_T(p_k) of the frozen learned backgrounds; or (K,J,E), several for a class,
    whose terms are averaged: so the words of `refinement.backgrounds` take the learned ones' place (own choice).
    """

    Settings = RefinementSettings

    def __init__(
        self,
        generator: Generator,
        judge: Judge,
        background_KE: Tensor,  # or (K,J,E)
        *,
        lambda_background: float = 2.4,
        lambda_refinement: float = 0.05,
        cam_epsilon: float | str = 0.1,
        mask_scales: tuple[float, ...] = (1.0,),
        average: float = 0.0,
    ) -> None:
        super().__init__(
            generator,
            judge,
            lambda_background=lambda_background,
            cam_epsilon=cam_epsilon,
            mask_scales=mask_scales,
            average=average,
        )
        self.register_buffer("background_features", background_KE)
        self.lambda_refinement = lambda_refinement

    @classmethod
    def of_run(cls, parts: Parts, settings: Any) -> Self:
        check_averages(settings)
        generator, judge = parts.generator_after("warmup"), parts.judge()
        options = stage_options(settings, leave_out=("select_epoch", "backgrounds"))
        if settings.backgrounds != "learned":
            with torch.no_grad():
                named_JE = judge.named_backgrounds(settings.backgrounds)
            return cls(generator, judge, named_JE.expand(len(judge.targets), -1, -1).clone(), **options)
        with torch.no_grad():
            vectors_KMW = parts.backgrounds_after("prompting").to(judge.device)
            background_KE = judge.encode_backgrounds(vectors_KMW, parts.prompts)
        return cls(generator, judge, background_KE, **options)

    def losses(self, foreground_PE: Tensor, background_PE: Tensor, pairs: Pairs, total: Total) -> dict[str, Tensor]:
        """The terms of matching and the background-prompt term."""
        terms = super().losses(foreground_PE, background_PE, pairs, total)
        if len(pairs) == 0:
            return terms | {"refinement": terms["loss"].detach()}
        learned_PE = self.background_features[pairs.label]  # type: ignore[index]
        if learned_PE.dim() == 2:
            refinement = share(self.judge.repel(foreground_PE, learned_PE), total.pairs)
        else:
            refinement = share(self.judge.repel(foreground_PE[:, None], learned_PE).mean(dim=1), total.pairs)
        terms["loss"] = terms["loss"] + self.lambda_refinement * refinement
        return terms | {"refinement": refinement.detach()}
