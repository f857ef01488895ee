"""Regions without any weights: superpixels of several sizes (scikit-image)."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from semples.labels.regions import Regions, level_of_segments
from semples.recipe import RegionSettings


def superpixels(photo: NDArray[np.uint8], settings: RegionSettings) -> Regions:
    """One level for each of `settings.scales`, each covering the photo (H,W,3) uint8 once.

    felzenszwalb: Felzenszwalb & Huttenlocher 2004, with the scale on 0..255 values; slic: Achanta et al. 2012.
    """
    levels = []
    for scale in settings.scales:
        segments = _segments(photo, scale, settings)
        levels.append(level_of_segments(segments))
    return Regions(photo.shape[:2], tuple(levels))


def _segments(photo: NDArray[np.uint8], scale: float, settings: RegionSettings) -> NDArray[np.integer]:
    from skimage.segmentation import felzenszwalb, slic

    height, width = photo.shape[:2]
    if min(height, width) < 2:  # nothing to compare along that side
        return np.arange(height * width).reshape(height, width)
    if settings.proposals == "felzenszwalb":
        return felzenszwalb(photo, scale=scale, sigma=settings.sigma, min_size=settings.min_area)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # more segments than pixels: each pixel is one
        return slic(
            photo,
            n_segments=min(round(scale), height * width),
            compactness=settings.compactness,
            sigma=settings.sigma,
            start_label=0,
        )
