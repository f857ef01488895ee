"""Stage (c), prompt-guided refinement: matching, and what is kept must not look like the class's background
(SemPLeS sec. 3.4)."""

from __future__ import annotations

from torch import Tensor

from semples.generators.base import MaskGenerator, Pairs
from semples.judges.clip import FrozenClip
from semples.stages.losses import cosine, repel
from semples.stages.matching import Matching
from semples.stages.views import ViewMaker
from semples.training.task import Total, share


class Refinement(Matching):
    """Trains the generator from the warm-up weights: L_a + λ_R · mean -log(1 - cos(E_I(X_f), E_T(p_k))).

    prompt_features: (K,E), text features of the frozen background prompts p_k.
    """

    def __init__(
        self,
        generator: MaskGenerator,
        clip: FrozenClip,
        class_features_KE: Tensor,
        prompt_features_KE: Tensor,
        *,
        view_maker: ViewMaker,
        lambda_background: float,
        lambda_refinement: float,
    ) -> None:
        super().__init__(generator, clip, class_features_KE, view_maker=view_maker, lambda_background=lambda_background)
        self.register_buffer("prompt_features", prompt_features_KE)
        self.lambda_refinement = lambda_refinement

    def losses(self, foreground_PE: Tensor, background_PE: Tensor, pairs: Pairs, total: Total) -> dict[str, Tensor]:
        """The terms of matching and the background-prompt term."""
        terms = super().losses(foreground_PE, background_PE, pairs, total)
        if len(pairs) == 0:
            return terms | {"refinement": terms["loss"].detach()}
        prompt_PE = self.prompt_features[pairs.label]  # type: ignore[index]
        refinement = share(repel(cosine(foreground_PE, prompt_PE)), total.pairs)
        terms["loss"] = terms["loss"] + self.lambda_refinement * refinement
        return terms | {"refinement": refinement.detach()}
