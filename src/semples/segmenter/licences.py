"""What licences well-known start weights carry, as their publishers name them. A reminder, not legal advice."""

from __future__ import annotations

# Beginning of a source's hub id, and what to know.
KNOWN: tuple[tuple[str, str], ...] = (
    ("nvidia/", "NVIDIA Source Code License for SegFormer: research and evaluation only, no commercial use"),
    (
        "facebook/mask2former",
        "published by Meta with the licence `other`; its model zoo names CC BY-NC 4.0: no commercial use",
    ),
    (
        "facebook/maskformer",
        "published by Meta with the licence `other`; its model zoo names CC BY-NC 4.0: no commercial use",
    ),
    ("facebook/dinov3", "DINOv3 License of Meta: commercial use under its conditions"),
    ("facebook/dinov2", "Apache-2.0"),
    ("facebook/deit", "Apache-2.0"),
    ("facebook/convnext", "Apache-2.0"),
    ("microsoft/swin", "Apache-2.0"),
    ("microsoft/beit", "Apache-2.0"),
    ("timm/deit", "Apache-2.0"),
    ("tue-mps/", "MIT; the DINOv2 backbone Apache-2.0"),
    ("openmmlab/upernet", "MIT"),
    ("shipped:", "Apache-2.0, part of this package"),
)
UNKNOWN = "not known to this program: look at the page of the weights before you pass this model on"
RANDOM = "none: training began with random weights"


def licence_of(source: str) -> str:
    """The licence of start weights by their source (`owner/name`, `FAMILY:owner/name`, `scratch:...`), in one line."""
    family, colon, rest = source.partition(":")
    if family in ("scratch", "random"):
        return RANDOM
    inner = rest if colon and family != "shipped" else source
    return next((licence for start, licence in KNOWN if inner.startswith(start)), UNKNOWN)
