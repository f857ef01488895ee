"""CAMs of a convolutional network (class activation maps, Zhou et al., arXiv 1512.04150): a 1x1 classifier on the last
features gives a map of logits for each class; their average is the class's logit, their positive part its CAM.

Shape suffixes: B images, K classes, C channels, h·w cells, P (image, present class) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import Generator, soft_margin_loss
from semples.networks import cnn
from semples.networks.logits import smooth_max
from semples.networks.pairs import Pairs
from semples.settings.generators import CnnSettings, GeneratorSettings

Pooling = Literal["mean", "smooth-max"]
Trained = Literal["classifier", "all"]


class CnnGenerator(Generator):
    """A mask generator whose CAMs are the positive logits of a convolutional network.

    patch_size is the network's output stride; a side of n pixels gives ceil(n / stride) cells. Photos are normalised as
    the network's own were. No random numbers are used (`noise_size` 0): the network is always in eval mode.
    """

    Settings = CnnSettings

    def __init__(
        self,
        network: cnn.Cnn,
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
        self.pooling, self.sharpness, self.learns, self.trains = pooling, sharpness, learns, trains
        self.classifier = nn.Conv2d(network.channels, num_classes, kernel, padding=kernel // 2)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    @classmethod
    def build(cls, settings: CnnSettings, *, classes: ClassList, seed: int) -> Self:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(
                cnn.build_cnn(settings.start, output_stride=settings.output_stride),
                num_classes=len(classes),
                kernel=settings.kernel,
                pooling=settings.pooling,
                sharpness=settings.sharpness,
                learns=settings.learns,
                trains=settings.trains,
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        options = {key: value for key, value in config.items() if key != "network"}
        return cls(cnn.from_config(config["network"]), num_classes=num_classes, **options)

    def normalisation(self, settings: GeneratorSettings) -> tuple[cnn.RGB, cnn.RGB]:
        """The network's own. Raises UserError where the settings ask for another."""
        trained_with, usual = (self.network.mean, self.network.std), GeneratorSettings()
        if (settings.mean, settings.std) not in ((usual.mean, usual.std), trained_with):
            raise UserError(
                f"generator.mean, generator.std: this network brings its own, {trained_with[0]} and {trained_with[1]}"
            )
        return trained_with

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
        return maps_BKN.mean(dim=2) if self.pooling == "mean" else smooth_max(maps_BKN, sharpness=self.sharpness)

    def classification_loss(
        self,
        image_B3HW: Tensor,
        tags_BK: Tensor,
        *,
        noise_BZ: Tensor | None = None,
        open_BK: Tensor | None = None,
    ) -> Tensor:
        """Multi-label soft-margin loss per photo (B,)."""
        logits_BK = self.logits(image_B3HW)
        return soft_margin_loss(logits_BK, tags_BK, open_BK)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"network": self.network.config_dict(), **self._options}
