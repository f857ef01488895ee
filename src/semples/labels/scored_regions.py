"""Label maps from regions of the photo that CAMs score (FMA-WSSS, arXiv 2312.03585, sec. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from semples.evaluation.selection import Grid
from semples.labels.base import REGIONS, Calibration, LabelInput, LabelMethod, Quality
from semples.labels.proposals.base import combination
from semples.labels.regions import Combine, Regions, pixel_scores, power_of_threshold
from semples.labels.scored import Cams, Scored, Thresholds, bilinear, label_values


class ScoredRegions(LabelMethod):
    """Region proposals with the mean CAMs inside them as scores; the best of background and classes at every pixel."""

    name = "regions"
    needs = frozenset({REGIONS})
    # Found as that of `Threshold` was; the points of regions alone lie too close to tell a slope, so it is the slope of
    # the threshold and only the value at 0 is fitted. After regions and CRF, masks with some background are recognised
    # as well as those without, so that sign counts half.
    calibration = Calibration(Grid(reach=4), Quality(-20.9, 160.0, 9.0))
    refined_calibration = Calibration(Grid(reach=3, weight=0.5), Quality(-42.2, 160.0, 9.0))

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """Scores of the size of the regions."""
        return self._scored(photo.cams, photo.regions(), thresholds)

    def scores(self, photo: LabelInput, thresholds: Sequence[float]) -> Iterator[Scored]:
        """As `score`, with the regions asked for once."""
        regions = photo.regions()
        return (self._scored(photo.cams, regions, threshold) for threshold in thresholds)

    def _scored(self, cams: Cams, regions: Regions, thresholds: Thresholds) -> Scored:
        background = self.regions.background
        power = power_of_threshold(thresholds) if background == "threshold" else background
        return by_regions(cams, regions, power=power, combine=combination(self.regions))


def by_regions(cams: Cams, regions: Regions, *, power: NDArray[np.float64] | float, combine: Combine) -> Scored:
    """The best of background and class scores at every pixel of the regions' photo (`labels.regions.pixel_scores`).

    `power`: of the background score; one, or one for each of K classes. CAMs of another size are resized bilinearly.
    """
    if not cams:
        return Scored.background(regions.shape)
    maps = np.stack([bilinear(cam, regions.shape) for cam in cams.values()])
    powers = power if np.ndim(power) == 0 else np.asarray(power)[list(cams)]
    scores, values = pixel_scores(regions, maps, power=powers, combine=combine), label_values(cams)
    return Scored(values, scores, values[scores.argmax(axis=0)])
