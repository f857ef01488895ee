"""Regions without any weights: superpixels of several sizes (scikit-image), each size a level that covers the photo."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semples.labels.proposals.base import Proposer
from semples.labels.regions import Regions, level_of_segments
from semples.settings.labels import FelzenszwalbSettings, SlicSettings

if TYPE_CHECKING:
    import torch


class Felzenszwalb(Proposer):
    """Superpixels of Felzenszwalb & Huttenlocher 2004, with the scale on 0..255 values."""

    Settings = FelzenszwalbSettings
    combine = "average"

    def __init__(self, settings: FelzenszwalbSettings, *, device: torch.device | None = None) -> None:
        super().__init__(settings)
        self.chosen = settings

    def __call__(self, photo: NDArray[np.uint8]) -> Regions:
        """One level for each of `settings.scales`, each covering the photo (H,W,3) uint8 once."""
        from skimage.segmentation import felzenszwalb

        chosen = self.chosen

        def segments(scale: float) -> NDArray[np.integer]:
            return felzenszwalb(photo, scale=scale, sigma=chosen.sigma, min_size=chosen.min_area)

        return _levels(photo, chosen.scales, segments)


class Slic(Proposer):
    """Superpixels of Achanta et al. 2012 (SLIC)."""

    Settings = SlicSettings
    combine = "average"

    def __init__(self, settings: SlicSettings, *, device: torch.device | None = None) -> None:
        super().__init__(settings)
        self.chosen = settings

    def __call__(self, photo: NDArray[np.uint8]) -> Regions:
        """One level for each of `settings.scales`, each covering the photo (H,W,3) uint8 once."""
        from skimage.segmentation import slic

        chosen, pixels = self.chosen, photo.shape[0] * photo.shape[1]

        def segments(scale: float) -> NDArray[np.integer]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # more segments than pixels: each pixel is one
                return slic(
                    photo,
                    n_segments=min(round(scale), pixels),
                    compactness=chosen.compactness,
                    sigma=chosen.sigma,
                    start_label=0,
                )

        return _levels(photo, chosen.scales, segments)


def _levels(
    photo: NDArray[np.uint8], scales: Sequence[float], segments: Callable[[float], NDArray[np.integer]]
) -> Regions:
    height, width = photo.shape[:2]
    if min(height, width) < 2:  # nothing to compare along that side: each pixel is a region
        single = level_of_segments(np.arange(height * width).reshape(height, width))
        return Regions((height, width), tuple(single for _ in scales))
    return Regions((height, width), tuple(level_of_segments(segments(scale)) for scale in scales))
