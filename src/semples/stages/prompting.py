"""Stage (b), contrastive prompt learning: each class learns the background that comes with it (SemPLeS sec. 3.3)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from semples.generators.base import MaskGenerator, Pairs
from semples.judges.clip import FrozenClip
from semples.recipe import PromptSettings
from semples.stages.background_prompts import BackgroundPrompts
from semples.stages.losses import attract, cosine, separate
from semples.stages.views import ViewMaker
from semples.training.task import Batch, Task, Total, share


class Prompting(Task):
    """Trains the prompts only: mean -log cos(E_I(X_b), E_T(p_k)) + λ_P · mean log cos(E_T(p_k), t_k).

    The generator is that of stage (a), frozen and in eval mode.
    """

    def __init__(
        self,
        prompts: BackgroundPrompts,
        generator: MaskGenerator,
        clip: FrozenClip,
        class_features_KE: Tensor,
        *,
        view_maker: ViewMaker,
        settings: PromptSettings,
        lambda_prompt: float,
    ) -> None:
        super().__init__()
        self.prompts = prompts
        self.generator = generator
        self.clip = clip
        self.register_buffer("class_features", class_features_KE)
        self.view_maker = view_maker
        self.settings = settings
        self.lambda_prompt = lambda_prompt

    def train(self, mode: bool = True) -> Prompting:
        """Only the prompts learn: the generator stays in eval mode."""
        super().train(mode)
        self.generator.eval()  # type: ignore[attr-defined]
        return self

    def trained(self) -> Iterable[nn.Parameter]:
        return self.prompts.parameters()

    def forward(self, batch: Batch, total: Total) -> dict[str, Tensor]:
        pairs = Pairs.of(batch.tags)
        if len(pairs) == 0:
            zero = self.prompts.vectors.sum() * 0.0
            return {"loss": zero, "background": zero.detach(), "separation": zero.detach()}
        with torch.no_grad():
            mask_PSS = self.view_maker.masks(self.generator, batch, pairs)
            _, background_P3SS = self.view_maker.views(batch.image, mask_PSS, pairs)
            image_PE = self.clip.encode_images(background_P3SS)
        prompt_PE = self._prompt_features(pairs.label)
        background = share(attract(cosine(image_PE, prompt_PE)), total.pairs)
        separation = share(separate(cosine(prompt_PE, self.class_features[pairs.label])), total.pairs)  # type: ignore[index]
        return {
            "loss": background + self.lambda_prompt * separation,
            "background": background.detach(),
            "separation": separation.detach(),
        }

    def _prompt_features(self, labels_P: Tensor) -> Tensor:
        """Text features (P,E); a class that several photos show is encoded once."""
        classes, position_P = labels_P.unique(return_inverse=True)
        features = self.clip.encode_prompts(
            self.prompts(classes), context=self.settings.context, full_stop=self.settings.full_stop
        )
        return features[position_P]
