"""What generators have in common that are a classifier on the features of an image network: a map of logits for each
class, whose average is the class's logit and whose positive part is its CAM (class activation maps, arXiv 1512.04150).

Shape suffixes: B images, K classes, C channels, h·w cells, P (image, present class) pairs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.generators.base import Generator, soft_margin_loss
from semples.networks.logits import smooth_max
from semples.networks.pairs import Pairs

Pooling = Literal["mean", "smooth-max"]
Trained = Literal["classifier", "all"]


class ClassifiedFeatures(Generator):
    """Who derives makes the network, then calls `add_classifier`; `learns` and `trains` say what may change."""

    def add_classifier(
        self,
        channels: int,
        *,
        num_classes: int,
        kernel: int,
        pooling: Pooling,
        sharpness: float,
        learns: Trained,
        trains: Trained,
    ) -> None:
        """A kernel x kernel classifier on features of so many channels; its settings stand in `options`."""
        self.options: dict[str, Any] = {
            "kernel": kernel,
            "pooling": pooling,
            "sharpness": sharpness,
            "learns": learns,
            "trains": trains,
        }
        self.num_classes = num_classes
        self.pooling, self.sharpness, self.learns, self.trains = pooling, sharpness, learns, trains
        self.classifier = nn.Conv2d(channels, num_classes, kernel, padding=kernel // 2)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    @property
    @abstractmethod
    def body(self) -> nn.Module:
        """The network below the classifier."""

    @abstractmethod
    def features(self, image_B3HW: Tensor, noise_BZ: Tensor | None) -> Tensor:
        """The network's last features (B,C,h,w)."""

    def warmup_parameters(self) -> Iterator[nn.Parameter]:
        """What `learns` says."""
        yield from self._parameters_of(self.learns)

    def train_parameters(self) -> Iterator[nn.Parameter]:
        """What `trains` says."""
        yield from self._parameters_of(self.trains)

    def _parameters_of(self, part: Trained) -> Iterator[nn.Parameter]:
        yield from self.classifier.parameters()
        if part == "all":
            yield from self.body.parameters()

    def _maps(self, image_B3HW: Tensor, noise_BZ: Tensor | None, part: Trained) -> Tensor:
        """Logits of every class at every cell, (B,K,h,w); gradients reach only the part that learns."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and part == "all"):
            features_BChw = self.features(image_B3HW, noise_BZ)
        return self.classifier(features_BChw)

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """CAMs (P,h,w) >= 0 of the present pairs, differentiable in `train_parameters` only."""
        return F.relu(self._maps(image_B3HW, noise_BZ, self.trains)[pairs.photo, pairs.label])

    def logits(self, image_B3HW: Tensor, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Class logits (B,K), differentiable in `warmup_parameters` only."""
        maps_BKN = self._maps(image_B3HW, noise_BZ, self.learns).flatten(2)
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
        return soft_margin_loss(self.logits(image_B3HW, noise_BZ=noise_BZ), tags_BK, open_BK)
