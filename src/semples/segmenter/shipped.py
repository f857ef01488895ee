"""The shipped kinds of segmenters: whole networks of transformers, new heads on its backbones, a light ViT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from semples.segmenter import network
from semples.segmenter.base import SegmenterKind
from semples.settings.segmenter import LightSegmenterSettings


class Whole(SegmenterKind):
    """A whole segmenter in transformers format; its head is made anew for other classes."""

    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        return network.whole(source, classes)


class OnBackbone(SegmenterKind):
    """A new head on a backbone of transformers, which gives features at four resolutions."""

    family: ClassVar[str]

    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        return network.on_backbone(self.family, source, classes)


class Mask2Former(OnBackbone):
    """A new Mask2Former head on a backbone of transformers (Swin, ConvNeXt, DINOv2)."""

    family = "mask2former"


class UperNet(OnBackbone):
    """A new UperNet head on a backbone of transformers (Swin, ConvNeXt, DINOv2)."""

    family = "upernet"


class Vit(SegmenterKind):
    """A light convolutional head on a plain ViT, as the mask generator starts from."""

    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        return network.light_vit(source, classes, view)


class Light(SegmenterKind):
    """A light decoder on EfficientNet-Lite0: small, fast, trained on a laptop."""

    Settings = LightSegmenterSettings

    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        return network.light_cnn(source, classes)


class Scratch(SegmenterKind):
    """Random weights: a family's own default size, or the architecture of a folder's config.json."""

    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        return network.from_scratch(source, classes, view)
