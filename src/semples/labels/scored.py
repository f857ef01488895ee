"""What a label method answers: labels of a photo, the scores that speak for them, and how sure they are.

Every pixel has scores of background and of the classes. The label is the best score's; its lead is that score minus
the best other one, and the confidence is the lead (0..1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

IGNORE = 255
MAX_CLASS = 253  # label values are class index + 1, and 255 means "not labelled"

Cams = Mapping[int, NDArray[np.float32]]
Thresholds = float | NDArray[np.float32]


@dataclass(frozen=True)
class Labelled:
    """A photo's labels, uint8 (H,W): 0 background, class k as k + 1, 255 left open; and their confidence, float32 (H,W)
    in 0..1."""

    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]

    def opened(self, least: float) -> Labelled:
        """The same with pixels of a confidence below `least` left open."""
        return Labelled(np.where(self.confidence < np.float32(least), np.uint8(IGNORE), self.labels), self.confidence)


@dataclass(frozen=True)
class Scored:
    """A photo's labels, uint8 (H,W), and the scores of background and classes that speak for them.

    values: the labels that may occur, uint8 (n,), 0 first. scores: float32 (n,H,W) in 0..1.
    """

    values: NDArray[np.uint8]
    scores: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @classmethod
    def background(cls, shape: tuple[int, int]) -> Scored:
        """Nothing but background, (H,W), which no class disputes."""
        return cls(np.zeros(1, np.uint8), np.ones((1, *shape), np.float32), np.zeros(shape, np.uint8))

    def resized(self, shape: tuple[int, int]) -> Scored:
        """Nearest-neighbour copy at (H,W)."""
        if self.labels.shape == tuple(shape):
            return self
        scores = np.stack([nearest(layer, shape) for layer in self.scores])
        return Scored(self.values, scores, nearest(self.labels, shape))

    def lead(self, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The score of given labels minus the best other score, float32 (H,W) in -1..1; 1 where there is no other."""
        given = np.zeros(labels.shape, np.float32)
        other = np.full(labels.shape, -np.inf, np.float32)
        for value, layer in zip(self.values, self.scores, strict=True):
            chosen = labels == value
            np.copyto(given, layer, where=chosen)
            np.maximum(other, layer, out=other, where=~chosen)
        return np.where(np.isfinite(other), given - other, np.float32(1))

    @property
    def labelled(self) -> Labelled:
        """The labels, as sure as they lead."""
        return Labelled(self.labels, self.lead(self.labels).clip(0, 1))


def label_values(cams: Cams) -> NDArray[np.uint8]:
    """Background's label and those of the classes of `cams`, uint8 (1+p,). Raises ValueError where one has none."""
    if max(cams) > MAX_CLASS:
        raise ValueError(f"class index {max(cams)} is above {MAX_CLASS}")
    return np.array([0, *(index + 1 for index in cams)], np.uint8)


def nearest(values: NDArray, shape: tuple[int, int]) -> NDArray:  # type: ignore[type-arg]
    """Nearest-neighbour copy at (H,W) of a map (h,w)."""
    if values.shape == tuple(shape):
        return values
    return np.asarray(Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def bilinear(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear copy at (H,W) of a map, float32 (h,w)."""
    if values.shape == tuple(shape):
        return values
    return np.asarray(Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
