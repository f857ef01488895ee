"""Start weights of a vision transformer with several class tokens: random ones, and those of an ImageNet classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.networks.vit import VisionTransformer, VitConfig
from semples.settings.generators import PlainVitSettings

DEFAULT_SIDE = 224  # pixels of a view, where neither a file nor the recipe names them


def random_config(settings: PlainVitSettings) -> VitConfig:
    """The architecture of `start: random`. Raises UserError for sizes that do not fit each other."""
    side = DEFAULT_SIDE if isinstance(settings.image_size, str) else settings.image_size
    if settings.width % settings.heads or side < settings.patch_size:
        raise UserError(
            f"generator: {settings.heads} heads and patches of {settings.patch_size} pixels do not fit a width of "
            f"{settings.width} and views of {side}; change generator.heads or patch_size"
        )
    return VitConfig(
        patch_size=settings.patch_size,
        width=settings.width,
        depth=settings.depth,
        heads=settings.heads,
        image_size=side,
    )


def initialise(model: VisionTransformer) -> None:
    """Normal numbers of deviation 0.02 for tokens, positions and linear layers, zero biases: the usual ViT start."""
    for parameter in (model.cls_token, model.pos_embed):
        nn.init.trunc_normal_(parameter, std=0.02)
    for module in model.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


def from_classifier(state: dict[str, Tensor], model: VisionTransformer) -> dict[str, Tensor]:
    """An ImageNet classifier's weights (timm naming) as WeakTr start weights.

    The class token and its position are repeated K times, patch positions resized bicubically to the model's grid, the
    classifier dropped; `head` and `adaptive_attention_fusion` keep the model's own start.
    """
    fresh = model.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith(("head.", "head_dist.", "fc_norm."))}
    prefix = ("head.", "adaptive_attention_fusion.")
    state |= {name: value for name, value in fresh.items() if name.startswith(prefix)}
    # A distilled classifier has a second token of its own, with a position behind the first.
    tokens = 1 + (state.pop("dist_token", None) is not None)
    token, positions = state.get("cls_token"), state.get("pos_embed")
    if token is None or positions is None or token.ndim != 3 or positions.ndim != 3:
        return state
    patches = positions[:, tokens:]
    side, target = round(patches.shape[1] ** 0.5), model.config.grid
    state["cls_token"] = token[:, :1].repeat(1, model.num_tokens, 1)
    if side > 0 and side * side == patches.shape[1]:
        classes = positions[:, :1].repeat(1, model.num_tokens, 1)
        if side != target:
            grid = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
            grid = F.interpolate(grid, size=(target, target), mode="bicubic", align_corners=False)
            patches = grid.flatten(2).transpose(1, 2)
        state["pos_embed"] = torch.cat([classes, patches], dim=1)
    return state
