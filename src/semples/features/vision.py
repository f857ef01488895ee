"""Patches, or the last feature map, of any vision model of transformers: DINOv2, DINOv3, ViT, ConvNeXt, ResNet."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from semples.core.errors import UserError
from semples.features.base import Features
from semples.networks.pretrained import load_network, normalisation, read_config, reading
from semples.settings.features import VisionFeatureSettings

WHAT = "a vision model"


class VisionFeatures(Features):
    """Last patch tokens or last feature map of a vision model of transformers.

    Of tokens those that stand for the whole photo (class, distillation, registers) are left out. Position embeddings
    are resized as the model itself does; one that cannot take another size is refused.
    """

    Settings = VisionFeatureSettings

    def __init__(self, settings: VisionFeatureSettings, *, device: torch.device | None = None) -> None:
        from transformers import AutoModel

        super().__init__(settings, device=device)
        config = read_config(settings.model, what=WHAT)
        config = getattr(config, "vision_config", config)  # a pair of towers: the one for photos
        self.network = load_network(settings.model, AutoModel, config, what=WHAT).to(self.device)
        parameters = inspect.signature(self.network.forward).parameters
        if "pixel_values" not in parameters:
            raise UserError(f"{settings.model}: a {config.model_type} does not look at photos; give a vision model")
        self.options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in parameters else {}
        self.patch = patch_of(config)
        self.most_prefixed = 2 + int(getattr(config, "num_register_tokens", 0) or 0)
        self.mean, self.std = normalisation(settings.model) or (settings.mean, settings.std)

    def patches(self, pixels_13HW: Tensor) -> Tensor:
        """Features (h,w,C) of one normalised photo."""
        height, width = (side // self.patch for side in pixels_13HW.shape[2:])
        with reading(self._model, what=f"features of {height}x{width} patches"):
            output: Tensor = self.network(pixel_values=pixels_13HW, **self.options).last_hidden_state[0]
        if output.ndim == 3 and output.shape[1:] == (height, width):
            return output.permute(1, 2, 0)
        prefixed = output.shape[0] - height * width
        if output.ndim == 2 and 0 <= prefixed <= self.most_prefixed:
            return output[prefixed:].unflatten(0, (height, width))
        raise UserError(
            f"{self._model}: its answer is {tuple(output.shape)} for {height}x{width} patches of {self.patch} pixels; "
            "give a model with a token for each patch, or a feature map"
        )

    @property
    def _model(self) -> str:
        assert isinstance(self.settings, VisionFeatureSettings)
        return self.settings.model


def patch_of(config: Any) -> int:
    """Pixels along a side of what one token or place of the feature map stands for.

    Models in stages halve the map from stage to stage; their first patches have 4 pixels where they name no size.
    """
    size = getattr(config, "patch_size", None)
    stages = getattr(config, "depths", None)
    if isinstance(size, list | tuple):
        size = size[0]
    if stages is None:
        return int(size or 32)
    return int(size or 4) * 2 ** (len(stages) - 1)
