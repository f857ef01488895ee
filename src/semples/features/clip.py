"""Patches of a CLIP, at any size of the photo."""

from __future__ import annotations

import torch
from torch import Tensor

from semples.core.errors import UserError
from semples.features.base import Features
from semples.networks.clip import CLIP_MEAN, CLIP_STD
from semples.networks.pretrained import load_network, normalisation, read_config
from semples.settings.features import ClipFeatureSettings

WHAT = "a CLIP"


class ClipFeatures(Features):
    """Patches of a CLIP in transformers format through its last norm and its projection.

    Position embeddings are resized bicubically to the photo's patches. Plain CLIP: its last attention mixes classes, so
    that a patch says less about its own place than those of a network trained for it.
    """

    Settings = ClipFeatureSettings

    def __init__(self, settings: ClipFeatureSettings, *, device: torch.device | None = None) -> None:
        from transformers import CLIPVisionModelWithProjection

        super().__init__(settings, device=device)
        config = read_config(settings.model, what=WHAT)
        config = getattr(config, "vision_config", config)
        if config.model_type != "clip_vision_model":
            raise UserError(f"{settings.model}: a {config.model_type}, not a CLIP; features.kind=vision reads it")
        self.network = load_network(settings.model, CLIPVisionModelWithProjection, config, what=WHAT).to(self.device)
        self.patch = int(config.patch_size)
        self.mean, self.std = normalisation(settings.model) or (CLIP_MEAN, CLIP_STD)

    def patches(self, pixels_13HW: Tensor) -> Tensor:
        """Features (h,w,E) of one normalised photo."""
        tower = self.network.vision_model
        tokens_NC = tower(pixel_values=pixels_13HW, interpolate_pos_encoding=True).last_hidden_state[0, 1:]
        features_NE: Tensor = self.network.visual_projection(tower.post_layernorm(tokens_NC))
        return features_NE.unflatten(0, (pixels_13HW.shape[2] // self.patch, -1))
