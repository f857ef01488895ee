"""A mask generator: two convolutions on patches, trained on tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.schema import setting
from semples.data.classes import ClassList
from semples.generators.base import Generator, soft_margin_loss
from semples.networks.pairs import Pairs
from semples.recipe import GeneratorSettings


@dataclass(frozen=True, kw_only=True)
class PatchCamSettings(GeneratorSettings):
    """Two convolutions on patches."""

    kind: str = setting("patch-cam", "name of the mask generator")
    patch_size: int = setting(4, "side of a patch", unit="pixels", low=2, source="own choice")
    width: int = setting(32, "channels between patches and classes", low=1, source="own choice")


class PatchCam(Generator):
    """Two convolutions on patches: CAMs of colours and textures in seconds, without start weights."""

    Settings = PatchCamSettings
    FACTS = ("own: an example", "photos and tags")  # source and needs, for `semples methods`

    def __init__(self, *, patch_size: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.patch_size, self.width, self.num_classes = patch_size, width, num_classes
        self.body = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    @classmethod
    def build(cls, settings: PatchCamSettings, *, classes: ClassList, seed: int) -> Self:
        with torch.random.fork_rng(devices=[]):  # the global random state stays as it is
            torch.manual_seed(seed)
            return cls(patch_size=settings.patch_size, width=settings.width, num_classes=len(classes))

    def config_dict(self) -> dict[str, Any]:
        return {"patch_size": self.patch_size, "width": self.width}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        return cls(**config, num_classes=num_classes)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Class maps (B,K,h,w), one value a patch."""
        return self.head(F.gelu(self.body(image_B3HW)))

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """softplus of the class maps, so that a patch that speaks against a class still learns."""
        return F.softplus(self(image_B3HW.detach()))[pairs.photo, pairs.label]

    def classification_loss(
        self,
        image_B3HW: Tensor,
        tags_BK: Tensor,
        *,
        noise_BZ: Tensor | None = None,
        open_BK: Tensor | None = None,
    ) -> Tensor:
        """Multi-label soft-margin loss of the mean over patches, (B,)."""
        logits_BK = self(image_B3HW).mean(dim=(2, 3))
        return soft_margin_loss(logits_BK, tags_BK, open_BK)

    def warmup_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()

    def train_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.parameters()
