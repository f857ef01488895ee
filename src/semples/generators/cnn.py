"""CAMs of a convolutional network (class activation maps, Zhou et al., arXiv 1512.04150): a 1x1 classifier on the last
features gives a map of logits for each class; their average is the class's logit, their positive part its CAM.

Shape suffixes: B images, K classes, C channels, h·w cells, P (image, present class) pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.classified import ClassifiedFeatures, Pooling, Trained
from semples.networks import cnn
from semples.settings.generators import CnnSettings, GeneratorSettings


class CnnGenerator(ClassifiedFeatures):
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
        self.network = network
        self.patch_size = network.stride
        self.add_classifier(
            network.channels,
            num_classes=num_classes,
            kernel=kernel,
            pooling=pooling,
            sharpness=sharpness,
            learns=learns,
            trains=trains,
        )

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

    @property
    def body(self) -> nn.Module:
        """The convolutional network."""
        return self.network

    def features(self, image_B3HW: Tensor, noise_BZ: Tensor | None) -> Tensor:
        """Its last features (B,C,h,w)."""
        return self.network(image_B3HW)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"network": self.network.config_dict(), **self.options}
