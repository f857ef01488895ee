"""EfficientNet-Lite0 with a light decoder, as a transformers model: 4 million parameters, for a laptop and for phones.

Features of strides 4, 8, 16 and 32 are added from coarse to fine, each through a 1x1 convolution, and two convolutions
at stride 4 make the scores. Batch normalisation keeps the statistics of ImageNet (as in `networks.cnn`). Importing this
module makes transformers' Auto classes know it as `semples_lite`.

Shape suffixes: B images, D channels of the decoder.
"""

from __future__ import annotations

from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSemanticSegmentation, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SemanticSegmenterOutput

from semples.networks.efficientnet_lite import HEAD, STAGES, EfficientNetLite0

LEVELS = (1, 2, 4, 6)  # the last stages of strides 4, 8, 16 and 32
STEP = 32  # sides of images are whole multiples of it
GROUPS = 8


class LiteSegmenterConfig(PreTrainedConfig):
    """head_width: channels D of the decoder."""

    model_type = "semples_lite"

    head_width: int = 64


class LiteDecoder(nn.Module):
    """Features of four strides to class scores at the finest."""

    def __init__(self, widths: tuple[int, ...], head_width: int, classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, head_width, 1) for width in widths)
        self.first = _block(head_width)
        self.second = _block(head_width)
        self.classify = nn.Conv2d(head_width, classes, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """levels: from fine to coarse."""
        narrow = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        x_BDhw = narrow.pop()
        while narrow:
            finer = narrow.pop()
            x_BDhw = finer + F.interpolate(x_BDhw, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        return self.classify(self.second(self.first(x_BDhw)))


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.GELU())


class LiteSegmenter(PreTrainedModel):
    """The network: `lite`, `decode_head`. Logits have a quarter of the image's sides."""

    config_class = LiteSegmenterConfig
    base_model_prefix = "lite"
    main_input_name = "pixel_values"

    def __init__(self, config: LiteSegmenterConfig) -> None:
        super().__init__(config)
        self.lite = EfficientNetLite0()
        widths = (*(STAGES[index][4] for index in LEVELS[:-1]), HEAD)
        self.decode_head = LiteDecoder(widths, config.head_width, int(config.num_labels or 0))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own start. transformers spares what was loaded."""
        if isinstance(module, nn.Conv2d | nn.GroupNorm | nn.BatchNorm2d):
            module.reset_parameters()

    def train(self, mode: bool = True) -> Self:
        """The statistics of batch normalisation stay as they are."""
        super().train(mode)
        self.lite.eval()
        return self

    def forward(self, pixel_values: Tensor, **_: Any) -> SemanticSegmenterOutput:
        """Normalised images (B,3,H,W) of any size; a side that is no whole multiple of 32 is resized to one."""
        size = [max(STEP, round(int(side) / STEP) * STEP) for side in pixel_values.shape[-2:]]
        if size != list(pixel_values.shape[-2:]):
            pixel_values = F.interpolate(pixel_values, size=size, mode="bilinear", align_corners=False)
        *levels, deepest = self.lite.depths(pixel_values, stages=LEVELS)
        return SemanticSegmenterOutput(logits=self.decode_head([*levels, self.lite.last(deepest)]))


AutoConfig.register(LiteSegmenterConfig.model_type, LiteSegmenterConfig)
AutoModelForSemanticSegmentation.register(LiteSegmenterConfig, LiteSegmenter)
