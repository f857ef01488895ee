"""What matching, prompting and refinement share: masks of the present pairs and the views CLIP sees of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.generators.base import MaskGenerator, Pairs
from semples.judges.clip import CLIP_MEAN, CLIP_STD
from semples.stages.losses import cam_masks, views
from semples.training.task import Batch


@dataclass(frozen=True)
class ViewMaker:
    """Turns a batch into CLIP's foreground and background views.

    size: side of CLIP's input. epsilon: the recipe's cam_epsilon. renormalise: per-channel factor and shift (3,) that
    turn the generator's normalisation into CLIP's, or None to feed CLIP the generator's (parity).
    """

    size: int
    epsilon: float | str
    renormalise: tuple[Tensor, Tensor] | None = None

    @classmethod
    def for_clip(
        cls, size: int, *, epsilon: float | str, normalisation: str, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> ViewMaker:
        """As the recipe's clip.normalisation says; mean and std are the generator's."""
        if normalisation == "generator":
            return cls(size, epsilon)
        factor = torch.tensor(std) / torch.tensor(CLIP_STD)
        shift = (torch.tensor(mean) - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
        return cls(size, epsilon, (factor, shift))

    def masks(self, generator: MaskGenerator, batch: Batch, pairs: Pairs) -> Tensor:
        """Soft masks (P,size,size) of the present pairs, differentiable in the generator."""
        return cam_masks(generator.cams(batch.image, pairs, noise_BZ=batch.noise), size=self.size, epsilon=self.epsilon)

    def views(self, image_B3SS: Tensor, mask_PSS: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Foreground and background views (P,3,size,size)."""
        if image_B3SS.shape[-2:] != (self.size, self.size):
            image_B3SS = F.interpolate(
                image_B3SS, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        if self.renormalise is not None:
            factor, shift = (x.to(image_B3SS)[:, None, None] for x in self.renormalise)
            image_B3SS = image_B3SS * factor + shift
        return views(image_B3SS, mask_PSS, pairs)
