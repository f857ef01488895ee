"""Label maps with confidences, from CAMs: by a background threshold or by regions, each with or without a dense CRF.

Both ways give every pixel scores of background and present classes. A CAM c has no background score of its own; it is
taken as (1 - c)^g, with the power g for which c beats background exactly above the background threshold. The label is
the best score's; its lead is that score minus the best other one. The confidence is the lead (0..1), and after a CRF
the CRF's own margin times (1 + lead) / 2 of the label it gave: the CRF alone is sure of nearly everything, its
mistakes included.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.errors import UserError
from semples.labels.regions import Combine, Regions, Thresholds, pixel_scores, power_of_threshold
from semples.labels.threshold import MAX_CLASS, winner_map
from semples.recipe import CrfSettings, LabelSettings, RegionSettings

if TYPE_CHECKING:
    from semples.labels.crf.dense import DenseCrf

IGNORE = 255

Cams = Mapping[int, NDArray[np.float32]]


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

    def resized(self, shape: tuple[int, int]) -> Scored:
        """Nearest-neighbour copy at (H,W)."""
        if self.labels.shape == tuple(shape):
            return self
        scores = np.stack([nearest(layer, shape) for layer in self.scores])
        return Scored(self.values, scores, nearest(self.labels, shape))

    def lead(self, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The score of given labels minus the best other score, float32 (H,W) in -1..1; 1 where there is no other."""
        own = np.zeros(labels.shape, np.float32)
        other = np.full(labels.shape, -np.inf, np.float32)
        for value, layer in zip(self.values, self.scores, strict=True):
            chosen = labels == value
            np.copyto(own, layer, where=chosen)
            np.maximum(other, layer, out=other, where=~chosen)
        return np.where(np.isfinite(other), own - other, np.float32(1))

    @property
    def labelled(self) -> Labelled:
        """The labels, as sure as they lead."""
        return Labelled(self.labels, self.lead(self.labels).clip(0, 1))


def by_threshold(cams: Cams, shape: tuple[int, int], thresholds: Thresholds) -> Scored:
    """The class with the largest CAM where that exceeds its threshold, else background.

    `cams`: {class index (0-based): float32 (H,W) in 0..1}. `thresholds`: one, or float32 (K,), one for each class. They
    are compared in float32, and a CAM equal to its threshold is background. Without CAMs all is background.
    """
    winner, value = winner_map(cams, shape)
    if not cams:
        return _all_background(shape)
    threshold, power = (_by_winner(found, winner) for found in (thresholds, power_of_threshold(thresholds)))
    labels = np.where(value > threshold.astype(np.float32), winner, np.uint8(0))
    background = (1 - np.clip(value, 0, 1)) ** power.astype(np.float32)
    return Scored(_values(cams), np.stack([background, *cams.values()]), labels)


def by_regions(cams: Cams, regions: Regions, *, power: NDArray[np.float64] | float, combine: Combine) -> Scored:
    """The best of background and class scores at every pixel of the regions' photo (`masks.regions.pixel_scores`).

    `power`: of the background score; one, or one for each of K classes. CAMs of another size are resized bilinearly.
    """
    if not cams:
        return _all_background(regions.shape)
    maps = np.stack([_bilinear(cam, regions.shape) for cam in cams.values()])
    own = power if np.ndim(power) == 0 else np.asarray(power)[list(cams)]
    scores, values = pixel_scores(regions, maps, power=own, combine=combine), _values(cams)
    return Scored(values, scores, values[scores.argmax(axis=0)])


class AboutPhoto(TypedDict):
    """What a labeller is told of a photo beside its CAMs.

    shape: (H,W) of the CAMs. size: (H,W) of the photo. tags: class indices that the CRF may give. photo: gives the
    photo, uint8 (H,W,3). regions: gives its regions. These two are asked only where the method looks at them.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    tags: tuple[int, ...]
    photo: Callable[[], NDArray[np.uint8]]
    regions: Callable[[], Regions]


class Labeller:
    """The labels of one photo after another, by the method of the recipe.

    `thresholds`: the background threshold, or one for each class, float32 (K,).
    """

    def __init__(
        self, settings: LabelSettings, *, thresholds: Thresholds, regions: RegionSettings, crf: CrfSettings
    ) -> None:
        self.settings, self.thresholds, self.regions = settings, thresholds, regions
        self._crf = _make_crf(crf) if settings.uses_crf else None

    def at(self, thresholds: Thresholds) -> Labeller:
        """The same with other background thresholds; what the CRF has worked out for photos of a size is shared."""
        other = copy.copy(self)
        other.thresholds = thresholds
        return other

    def __call__(self, cams: Cams, **about: Unpack[AboutPhoto]) -> Labelled:
        """Labels and confidences of the photo's own size, from its CAMs {class index: float32 of `shape`}."""
        if self.settings.uses_regions:
            scored = self._from_regions(cams, about["regions"]())
        else:
            scored = by_threshold(cams, about["shape"], self.thresholds)
        scored = scored.resized(about["size"])
        if self._crf is None:
            found = scored.labelled
        else:
            found = refined(self._crf, scored, photo=about["photo"](), tags=about["tags"])
        return found.opened(self.settings.min_confidence) if self.settings.min_confidence > 0 else found

    def sweep(self, thresholds: Sequence[float], cams: Cams, **about: Unpack[AboutPhoto]) -> list[NDArray[np.uint8]]:
        """The photo's labels, uint8 of its own size, at each of `thresholds`, without confidences.

        What does not depend on the threshold is worked out once, and a map that comes again is not refined again.
        """
        found = about["regions"]() if self.settings.uses_regions else None
        maps = []
        for threshold in thresholds:
            own = self.at(threshold)
            scored = by_threshold(cams, about["shape"], threshold) if found is None else own._from_regions(cams, found)
            maps.append(nearest(scored.labels, about["size"]))
        if self._crf is None:
            return maps
        different = {labels.tobytes(): labels for labels in maps}
        answers = refined_labels(self._crf, list(different.values()), photo=about["photo"](), tags=about["tags"])
        known = dict(zip(different, answers, strict=True))
        return [known[labels.tobytes()] for labels in maps]

    def _from_regions(self, cams: Cams, regions: Regions) -> Scored:
        own = self.regions
        power = power_of_threshold(self.thresholds) if own.background == "threshold" else own.background
        combine = own.combine
        if combine == "auto":
            combine = "paint" if own.proposals == "sam" else "average"
        return by_regions(cams, regions, power=power, combine=combine)


def check_thresholds(thresholds: Thresholds, *, num_classes: int) -> None:
    """Raise UserError unless there is one threshold, or one for each class, in 0..1."""
    found = np.asarray(thresholds)
    if found.ndim and found.shape != (num_classes,):
        raise UserError(
            f"{found.size} background thresholds for {num_classes} classes; give one, or one for each class"
        )
    if not ((found >= 0) & (found <= 1)).all():
        raise UserError("a background threshold is outside 0..1")


def nearest(values: NDArray, shape: tuple[int, int]) -> NDArray:  # type: ignore[type-arg]
    """Nearest-neighbour copy at (H,W) of a map (h,w)."""
    if values.shape == tuple(shape):
        return values
    return np.asarray(Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def _bilinear(cam: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    if cam.shape == tuple(shape):
        return cam
    return np.asarray(Image.fromarray(cam).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _values(cams: Cams) -> NDArray[np.uint8]:
    if max(cams) > MAX_CLASS:
        raise ValueError(f"class index {max(cams)} is above {MAX_CLASS}")
    return np.array([0, *(index + 1 for index in cams)], np.uint8)


def _all_background(shape: tuple[int, int]) -> Scored:
    return Scored(np.zeros(1, np.uint8), np.ones((1, *shape), np.float32), np.zeros(shape, np.uint8))


def _by_winner(values: Thresholds | NDArray[np.float64], winner: NDArray[np.uint8]) -> NDArray[np.float64]:
    """One value, or the winning class's at every pixel."""
    found = np.asarray(values, np.float64)
    return found if found.ndim == 0 else found[winner.astype(np.intp) - 1]


def _make_crf(settings: CrfSettings) -> DenseCrf:
    from semples.labels.crf.dense import DenseCrf

    return DenseCrf(settings)


def refined(crf: DenseCrf, scored: Scored, *, photo: NDArray[np.uint8], tags: tuple[int, ...]) -> Labelled:
    """The CRF's labels from given ones, any of `tags` or background; photo uint8 (H,W,3)."""
    import torch

    from semples.labels.crf.dense import margin

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    maps = [torch.from_numpy(np.array(values)).to(device) for values in (photo, scored.labels)]
    found = crf.refine(maps[:1], maps[1:], [tags])[0]
    labels, sure = found.labels.cpu().numpy(), margin(found.marginals).clamp(0, 1).cpu().numpy()
    return Labelled(labels, (sure * (1 + scored.lead(labels)) / 2).astype(np.float32))


def refined_labels(
    crf: DenseCrf, maps: Sequence[NDArray[np.uint8]], *, photo: NDArray[np.uint8], tags: tuple[int, ...]
) -> list[NDArray[np.uint8]]:
    """The CRF's labels, uint8 (H,W), from each of several label maps of one photo, uint8 (H,W,3)."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shown = torch.from_numpy(np.array(photo)).to(device)
    given = [torch.from_numpy(np.array(labels)).to(device) for labels in maps]
    found = crf.refine([shown] * len(given), given, [tags] * len(given))
    return [one.labels.cpu().numpy() for one in found]
