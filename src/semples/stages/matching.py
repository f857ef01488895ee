"""Stage (a), segment-label matching: CLIP judges what the masks keep and what they leave (SemPLeS sec. 3.2)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from semples.generators.base import MaskGenerator, Pairs
from semples.judges.clip import FrozenClip
from semples.stages.losses import attract, cosine, repel
from semples.stages.views import ViewMaker
from semples.training.task import Batch, Task, Total, share


class Matching(Task):
    """Trains the generator: mean -log cos(E_I(X_f), t_k) + λ_T · mean -log(1 - cos(E_I(X_b), t_k)).

    class_features: (K,E), text features t_k of the classes.
    """

    def __init__(
        self,
        generator: MaskGenerator,
        clip: FrozenClip,
        class_features_KE: Tensor,
        *,
        view_maker: ViewMaker,
        lambda_background: float,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.clip = clip
        self.register_buffer("class_features", class_features_KE)
        self.view_maker = view_maker
        self.lambda_background = lambda_background

    def trained(self) -> Iterable[nn.Parameter]:
        return self.generator.train_parameters()

    def forward(self, batch: Batch, total: Total) -> dict[str, Tensor]:
        pairs = Pairs.of(batch.tags)
        mask_PSS = self.view_maker.masks(self.generator, batch, pairs)
        if len(pairs) == 0:
            return self.losses(mask_PSS, mask_PSS, pairs, total)
        both = torch.cat(self.view_maker.views(batch.image, mask_PSS, pairs))
        foreground_PE, background_PE = self.clip.encode_images(both).chunk(2)
        return self.losses(foreground_PE, background_PE, pairs, total)

    def losses(self, foreground_PE: Tensor, background_PE: Tensor, pairs: Pairs, total: Total) -> dict[str, Tensor]:
        """The two terms from image features of both views; without pairs every one is 0."""
        if len(pairs) == 0:
            zero = foreground_PE.sum()
            return {"loss": zero, "foreground": zero.detach(), "background": zero.detach()}
        text_PE = self.class_features[pairs.label]  # type: ignore[index]
        foreground = share(attract(cosine(foreground_PE, text_PE)), total.pairs)
        background = share(repel(cosine(background_PE, text_PE)), total.pairs)
        return {
            "loss": foreground + self.lambda_background * background,
            "foreground": foreground.detach(),
            "background": background.detach(),
        }
