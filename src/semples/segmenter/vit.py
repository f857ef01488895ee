"""A plain vision transformer with a light convolutional head, as a transformers model.

It starts from any ViT weights in the usual naming (DeiT, the shipped demo tower), as the mask generator does. Importing
this module makes transformers' Auto classes know it as `semples_vit`.

Shape suffixes: B images, N patches, C channels of the transformer, D channels of the head, h x w patches.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSemanticSegmentation, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SemanticSegmenterOutput

from semples.networks.vit import VisionTransformer, VitConfig
from semples.networks.vit_files import VitFile
from semples.networks.vit_start import from_classifier, initialise
from semples.networks.weights import load_strictly
from semples.segmenter.pooling import pool_by_products

ARCHITECTURE = tuple(VitConfig.__dataclass_fields__)
STEM = 16  # channels of the image's own detail
GROUPS = 8


class VitSegmenterConfig(PreTrainedConfig):
    """`VitConfig` and the width D of the head."""

    model_type = "semples_vit"

    patch_size: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    act: str = "gelu"
    pre_norm: bool = False
    eps: float = 1e-6
    image_size: int = 224
    layer_scale: bool = False
    registers: int = 0
    head_width: int = 64

    def vit(self) -> VitConfig:
        """The transformer's part."""
        return VitConfig(**{key: getattr(self, key) for key in ARCHITECTURE})


class VitHead(nn.Module):
    """Patch features to class scores at a quarter of the patch: two doublings, the second sees the image's edges."""

    def __init__(self, width: int, head_width: int, classes: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(2 * width, head_width, 1)
        self.first = _block(head_width, head_width)
        self.stem = _block(3, STEM)
        self.second = _block(head_width + STEM, head_width)
        self.classify = nn.Conv2d(head_width, classes, 1)

    def forward(self, features_BChw: Tensor, image_B3HW: Tensor) -> Tensor:
        x = F.interpolate(self.reduce(features_BChw), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = F.interpolate(self.first(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        pool: Any = pool_by_products if torch.onnx.is_in_onnx_export() else _adaptive_average
        detail = pool(image_B3HW, x.shape[-2], x.shape[-1])
        return self.classify(self.second(torch.cat([x, self.stem(detail)], dim=1)))


def _adaptive_average(x_BCHW: Tensor, rows: int, columns: int) -> Tensor:
    return F.adaptive_avg_pool2d(x_BCHW, (rows, columns))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(GROUPS, outputs), nn.GELU())


class VitSegmenter(PreTrainedModel):
    """The network: transformer `vit`, `decode_head`. Logits have four values a patch along each side."""

    config_class = VitSegmenterConfig
    base_model_prefix = "vit"
    main_input_name = "pixel_values"

    def __init__(self, config: VitSegmenterConfig) -> None:
        super().__init__(config)
        self.vit = VisionTransformer(config.vit(), num_tokens=1)
        self.middle = nn.LayerNorm(config.width, eps=config.eps)
        self.decode_head = VitHead(config.width, config.head_width, int(config.num_labels or 0))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own start, and for the transformer the usual one. transformers spares what was loaded."""
        if isinstance(module, VisionTransformer):
            initialise(module)
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm | nn.GroupNorm):
            module.reset_parameters()

    def forward(self, pixel_values: Tensor, **_: Any) -> SemanticSegmenterOutput:
        """Normalised images (B,3,H,W) of any size; a side that is no whole number of patches is resized to one."""
        patch = self.config.patch_size
        size = [max(patch, round(int(side) / patch) * patch) for side in pixel_values.shape[-2:]]
        if size != list(pixel_values.shape[-2:]):
            pixel_values = F.interpolate(pixel_values, size=size, mode="bilinear", align_corners=False)
        x_BTC, grid = self.vit.embed(pixel_values)
        middle_BTC = x_BTC
        block: Any
        for index, block in enumerate(self.vit.blocks):
            x_BTC = x_BTC + block.ls1(block.attn(block.norm1(x_BTC), keep_map=False)[0])
            x_BTC = x_BTC + block.ls2(block.mlp(block.norm2(x_BTC)))
            if index == len(self.vit.blocks) // 2 - 1:
                middle_BTC = x_BTC
        features_BTC = torch.cat([self.middle(middle_BTC), self.vit.norm(x_BTC)], dim=2)
        patches_BNC = features_BTC[:, 1 : 1 + grid[0] * grid[1]]  # registers stand behind
        features_BChw = patches_BNC.transpose(1, 2).unflatten(2, grid)
        return SemanticSegmenterOutput(logits=self.decode_head(features_BChw, pixel_values))


def config_for(file: VitFile, *, size: int) -> VitSegmenterConfig:
    """The architecture of published ViT weights for views of `size`."""
    known = {key: getattr(file.config, key) for key in ARCHITECTURE if key != "image_size"}
    return VitSegmenterConfig(**known, image_size=size)


def start_from(network: VitSegmenter, file: VitFile, *, where: str) -> None:
    """Put a ViT's weights into the transformer; positions are resized to the network's grid."""
    load_strictly(network.vit, from_classifier(file.state, network.vit), where=where)


AutoConfig.register(VitSegmenterConfig.model_type, VitSegmenterConfig)
AutoModelForSemanticSegmentation.register(VitSegmenterConfig, VitSegmenter)
