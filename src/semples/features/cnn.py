"""Three depths of a convolutional network as patch features: EfficientNet-Lite0, ResNet, ConvNeXt.

Shallow features tell fur from grass, deep ones a horse from a cow. Every depth has length 1 at every cell before they
are put together, so that each counts alike in a cosine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.features.base import Features
from semples.networks.cnn import build_cnn
from semples.settings.features import CnnFeatureSettings

OUTPUT_STRIDE = 16  # of the deepest features, before they are read at the cells


class CnnFeatures(Features):
    """Three depths of a convolutional network, at cells of one stride."""

    Settings = CnnFeatureSettings

    def __init__(self, settings: CnnFeatureSettings, *, device: torch.device | None = None) -> None:
        super().__init__(settings, device=device)
        self.network = build_cnn(settings.model, output_stride=OUTPUT_STRIDE).requires_grad_(False).to(self.device)
        self.patch = settings.stride
        self.mean, self.std = self.network.mean, self.network.std

    def patches(self, pixels_13HW: Tensor) -> Tensor:
        """Features (h,w,C) of one normalised photo."""
        depths = self.network.depths(pixels_13HW, stride=self.patch)
        return torch.cat([F.normalize(values, dim=1) for values in depths], dim=1)[0].permute(1, 2, 0)
