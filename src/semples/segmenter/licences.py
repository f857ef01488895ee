"""Licences of well-known start weights, as their publishers state them; this program ships none of them."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Licence(NamedTuple):
    """The licence of weights: its name, and whether it allows commercial use as far as it says."""

    model: str
    licence: str
    commercial: Literal["yes", "no", "unknown"]


LICENCES = (
    Licence("timm/deit_small_patch16_224.fb_in1k", "Apache-2.0", "yes"),
    Licence("microsoft/swin-tiny-patch4-window7-224", "Apache-2.0", "yes"),
    Licence("microsoft/swin-large-patch4-window12-384-in22k", "Apache-2.0", "yes"),
    Licence("facebook/convnext-tiny-224", "Apache-2.0", "yes"),
    Licence("facebook/dinov2-small", "Apache-2.0", "yes"),
    Licence("openmmlab/upernet-swin-tiny", "MIT", "yes"),
    Licence("nvidia/mit-b0 (all nvidia/mit-* and nvidia/segformer-*)", "NVIDIA Source Code License", "no"),
    Licence("facebook/mask2former-*", "other: see the model card", "unknown"),
    Licence("facebook/maskformer-*", "other: see the model card", "unknown"),
    Licence("tue-mps/*eomt*", "see the model card, and that of its DINOv2 or DINOv3 backbone", "unknown"),
)
