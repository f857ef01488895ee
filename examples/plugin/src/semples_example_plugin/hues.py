"""A judge without any text: every class has a hue, and a view is judged by its histogram of hues."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.core.errors import UserError
from semples.core.schema import setting
from semples.data.classes import ClassList
from semples.judges.base import Judge
from semples.recipe import JudgeSettings, PromptSettings

FLOOR = 1e-3  # in every bin, so that a grey view has a feature too


@dataclass(frozen=True, kw_only=True)
class HuesSettings(JudgeSettings):
    """A histogram of hues."""

    kind: str = setting("hues", "name of the judge")
    hues: Literal["even"] | tuple[float, ...] = setting(
        "even",
        "hue of each class in their order, 0 red, 1/3 green, 2/3 blue; even: round the circle",
        low=0,
        high=1,
        source="own choice",
    )
    bins: int = setting(24, "bins of the histogram", low=3, high=360, source="own choice")
    image_size: int = setting(64, "side of a view", unit="pixels", low=8, source="own choice")


class Hues(Judge):
    """A histogram of hues, without weights or texts: for things that differ in colour."""

    Settings = HuesSettings
    mean = (0.0, 0.0, 0.0)  # plain colours: what a mask leaves out is black, which has no hue
    std = (1.0, 1.0, 1.0)
    scale = 10.0

    def __init__(self, hue_K: Tensor, *, bins: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        angle_E = torch.arange(bins) * (2 * math.pi / bins)
        self.register_buffer("direction_E2", torch.stack([angle_E.cos(), angle_E.sin()], dim=1))
        angle_K = hue_K * (2 * math.pi)
        self.register_buffer("targets", self._histogram(torch.stack([angle_K.cos(), angle_K.sin()], dim=1)[..., None]))

    @classmethod
    def build(cls, settings: HuesSettings, *, classes: ClassList) -> Self:
        count = len(classes)
        hues = [k / count for k in range(count)] if settings.hues == "even" else settings.hues
        if len(hues) != count:
            raise UserError(f"judge.hues: {len(hues)} hues for {count} classes; give one for each, or even")
        return cls(torch.tensor(hues), bins=settings.bins, image_size=settings.image_size)

    def encode(self, view_n3SS: Tensor) -> Tensor:
        red, green, blue = view_n3SS.flatten(2).unbind(1)
        return self._histogram(torch.stack([red - (green + blue) / 2, (green - blue) * (math.sqrt(3) / 2)], dim=1))

    def _histogram(self, colour_n2X: Tensor) -> Tensor:
        """L2-normalised features (n,E) of opponent colours of X pixels: how far they point along each direction."""
        along_nEX = torch.einsum("ed,ndx->nex", self.direction_E2, colour_n2X)
        return F.normalize(along_nEX.relu().square().mean(dim=2) + FLOOR, dim=-1)

    def start_backgrounds(self, settings: PromptSettings, *, seed: int) -> Tensor:
        shape = (*self.targets.shape[:1], settings.length, self.targets.shape[1])
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed))

    def encode_backgrounds(self, vector_nMW: Tensor, settings: PromptSettings) -> Tensor:
        """The mean of M histograms, learned as logarithms."""
        return F.normalize(vector_nMW.exp().mean(dim=1), dim=-1)
