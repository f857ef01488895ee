"""What all frozen features are: made from settings, they answer with the patch features of one photo after another.

A new kind is a class in a file of its own and a line in `semples.settings.kinds.FEATURES`, or an entry point
`semples.features` of another package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.networks.pretrained import RGB
from semples.settings.features import FeatureSettings
from semples.settings.kinds import FEATURES


class Features(ABC):
    """Patch features of one photo after another by a frozen network; equal photos have equal features.

    Settings: class of the recipe's group `features`. patch: side of a patch in pixels of the resized photo. mean, std:
    of red, green, blue in 0..1, what that photo is normalised with.

    settings: the recipe's group. device: where the network computes; the features come back as arrays.
    """

    Settings: ClassVar[type[FeatureSettings]] = FeatureSettings
    patch: int
    mean: RGB
    std: RGB

    def __init__(self, settings: FeatureSettings, *, device: torch.device | None = None) -> None:
        self.settings = settings
        self.device = device or torch.device("cpu")

    @property
    def normalised(self) -> bool:
        """Whether every feature has length 1."""
        return self.settings.unit_length

    def __call__(self, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features, float32 (h,w,C), of a photo uint8 (H,W,3): one for each patch of the resized photo."""
        size = fitted((photo.shape[0], photo.shape[1]), side=self.settings.side, patch=self.patch)
        pixels_13HW = prepared(photo, size, mean=self.mean, std=self.std).to(self.device)
        with torch.inference_mode():
            features_hwC = self.patches(pixels_13HW).float()
            if self.normalised:
                features_hwC = F.normalize(features_hwC, dim=-1)
        return features_hwC.cpu().numpy()

    @abstractmethod
    def patches(self, pixels_13HW: Tensor) -> Tensor:
        """Features (h,w,C) of one normalised photo whose sides are whole multiples of `patch`."""


def make_features(settings: FeatureSettings, *, device: torch.device | None = None) -> Features:
    """The features of the recipe's group. Raises UserError for an unknown kind, or weights of no use."""
    made: Features = FEATURES.load(settings.kind)(settings, device=device)
    return made


def fitted(shape: tuple[int, int], *, side: int, patch: int) -> tuple[int, int]:
    """(H,W) in whole patches: the longer side the nearest to `side`, the other by the aspect of `shape` (H,W)."""
    longest = max(1, round(side / patch))
    height, width = (max(1, round(longest * length / max(shape))) * patch for length in shape)
    return height, width


def prepared(
    photo: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    mean: RGB,
    std: RGB,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Tensor:
    """The photo, uint8 (h,w,3), resized to `size` (H,W) by a filter of Pillow and normalised: float32 (1,3,H,W)."""
    resized = Image.fromarray(photo).resize((size[1], size[0]), resample)
    values = (np.asarray(resized, np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous()
