"""The background threshold, and how good label maps are, from photos and tags alone: no pixel label is looked at.

Two signs are read off the label maps at every threshold t, one number a (photo, present class) pair:

- steadiness: the overlap (IoU) of the class's mask at t - w with the one at t + w. A mask that follows the edges of a
  thing barely moves when the threshold does; one that cuts through an even slope moves at once (maximally stable
  regions, Matas et al. 2002, applied to label maps).
- recognition: the probability that CLIP gives the class, among all classes, for the photo with all but the mask blanked
  out (SemPLeS eq. (1) with a hard mask). It falls where a mask loses its thing and where it takes in its background.

Without a judge there is no recognition, and a mask that fills the photo is steadier than any: where photos have many
classes the threshold ran down to it. There each pair's steadiness is balanced by that of its photo's background, as the
root of their product: a mask and what it leaves must both stay what they are.

Each sign is averaged over pairs and stretched to 0..1 over the thresholds; the threshold with the largest sum (or
weighted sum) is taken, refined by the parabola through it and its two neighbours. Own method: the published program
picks by pixel masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEP = 0.04  # between two thresholds that are tried
LOWEST, HIGHEST = 0.02, 0.74  # of label maps that are looked at; of thresholds that are tried
PRIOR_PAIRS = 20.0  # pairs of all classes that a class's own pairs are mixed with


@dataclass(frozen=True)
class Grid:
    """The thresholds that are tried, and how far below and above each the label maps are compared.

    `tried` thresholds start at `LOWEST` + window; `maps` are all thresholds of which a label map is needed.
    """

    reach: int  # the window in steps
    weight: float = 1.0  # what recognition counts beside steadiness

    @property
    def window(self) -> float:
        """Distance of the compared label maps from the threshold."""
        return round(self.reach * STEP, 2)

    @property
    def maps(self) -> tuple[float, ...]:
        """Ascending thresholds of all label maps."""
        count = round((HIGHEST - LOWEST) / STEP) + 1 + self.reach
        return tuple(round(LOWEST + STEP * index, 2) for index in range(count))

    @property
    def tried(self) -> tuple[float, ...]:
        """Ascending thresholds among which the choice is made."""
        return self.maps[self.reach : -self.reach]


@dataclass(frozen=True)
class Signs:
    """Both signs of every pair at every tried threshold.

    classes: int (P,), class index of each pair. steadiness, recognition: float64 (P,T) in 0..1; NaN where a pair says
    nothing (the class is in neither mask). background: the steadiness of the background of each pair's photo, alike,
    NaN for photos of one class; given where no judge stands by, and balances the first then: among several classes a
    mask that fills the photo is the steadiest.
    """

    classes: NDArray[np.intp]
    steadiness: Floats
    recognition: Floats
    background: Floats | None = None

    def __post_init__(self) -> None:
        shape = (len(self.classes), self.steadiness.shape[-1])
        given = [self.steadiness, self.recognition, *([] if self.background is None else [self.background])]
        if any(values.shape != shape for values in given):
            raise ValueError(f"signs must be {shape}, not {' and '.join(str(values.shape) for values in given)}")

    @property
    def balanced(self) -> Floats:
        """What counts as steady in the choice, float64 (P,T)."""
        if self.background is None:
            return self.steadiness
        return np.sqrt(self.steadiness * _filled(self.background, self.steadiness))


@dataclass(frozen=True)
class Choice:
    """The chosen threshold and the curves it was read off: float64 (T,), mean steadiness and recognition, and
    `criterion`, the sum of both stretched to 0..1. per_class: a threshold a class, None for a class without pairs."""

    threshold: float
    per_class: tuple[float | None, ...]
    steadiness: Floats
    recognition: Floats
    criterion: Floats


def steadiness(maps: Sequence[NDArray[np.uint8]], classes: Sequence[int], *, reach: int) -> Floats:
    """How little each class's mask changes around every threshold of one photo.

    `maps`: label maps uint8 (H,W), 0 background and k + 1 for class k, one an ascending threshold. `classes`: the p
    present classes. Returns float64 (p, len(maps) - 2 * reach): IoU of the masks `reach` maps below and above, NaN
    where both are empty.
    """
    overlap = np.full((len(classes), len(maps) - 2 * reach), np.nan)
    for row, index in zip(overlap, classes, strict=True):
        masks = [labels == index + 1 for labels in maps]
        for place in range(len(row)):
            low, high = masks[place], masks[place + 2 * reach]
            union = np.count_nonzero(low | high)
            if union:
                row[place] = np.count_nonzero(low & high) / union
    return overlap


def background_steadiness(maps: Sequence[NDArray[np.uint8]], classes: Sequence[int], *, reach: int) -> Floats:
    """The same of one photo's background: float64 (len(maps) - 2 * reach,), 0 where there is none; NaN for a photo of
    one class, whose background moves as its mask does."""
    if len(classes) < 2:
        return np.full(len(maps) - 2 * reach, np.nan)
    (row,) = steadiness([(labels == 0).astype(np.uint8) for labels in maps], [0], reach=reach)
    return np.nan_to_num(row, nan=0.0)


def choose(signs: Signs, tried: Sequence[float], *, num_classes: int, weight: float = 1.0) -> Choice:
    """The threshold at which masks are steady and recognised.

    `tried`: the T ascending thresholds of `signs`. `weight`: what recognition counts beside steadiness. A class's own
    threshold comes from its pairs, mixed with the mean of all pairs that counts as `PRIOR_PAIRS` of them. Raises
    ValueError where there is no pair.
    """
    if not len(signs.classes):
        raise ValueError("there is no pair to choose by")
    balanced = signs.balanced
    steady, known = mean_over_pairs(balanced), mean_over_pairs(signs.recognition)
    criterion = stretched(steady) + weight * stretched(known)
    per_class: list[float | None] = []
    for index in range(num_classes):
        mine = signs.classes == index
        if not mine.any():
            per_class.append(None)
            continue
        share = mine.sum() / (mine.sum() + PRIOR_PAIRS)
        class_signs = [
            share * _filled(mean_over_pairs(values[mine]), overall) + (1 - share) * overall
            for values, overall in ((balanced, steady), (signs.recognition, known))
        ]
        per_class.append(peak(tried, stretched(class_signs[0]) + weight * stretched(class_signs[1])))
    shown = mean_over_pairs(signs.steadiness)
    return Choice(peak(tried, criterion), tuple(per_class), shown, known, criterion)


def mean_over_pairs(values: Floats) -> Floats:
    """Mean (T,) of (P,T) over the pairs that are not NaN; NaN where none is."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)


def stretched(values: Floats) -> Floats:
    """Values (T,) mapped to 0..1, the smallest to 0 and the largest to 1; 0 where all are equal or a value is NaN."""
    known = values[~np.isnan(values)]
    if not known.size or known.max() - known.min() < 1e-9:
        return np.zeros_like(values)
    return np.nan_to_num((values - known.min()) / (known.max() - known.min()), nan=0.0)


def peak(places: Sequence[float], values: Floats) -> float:
    """Where evenly spaced `values` (T,) are largest, refined by a parabola and rounded to hundredths.

    Among equal values the first counts; at an end the end itself is the answer.
    """
    best = int(np.argmax(values))
    place = float(places[best])
    if 0 < best < len(values) - 1:
        before, here, after = values[best - 1 : best + 2]
        bend = before - 2 * here + after
        if bend < 0:
            place += float(0.5 * (before - after) / bend) * (float(places[best + 1]) - place)
    return round(place, 2)


def at(places: Sequence[float], values: Floats, place: float) -> float:
    """A curve's value between its known points, by linear interpolation; beyond their ends that of the end.

    NaN where no point is known.
    """
    known = ~np.isnan(values)
    return float(np.interp(place, np.asarray(places)[known], values[known])) if known.any() else float("nan")


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Spearman's correlation of two equally long rows of numbers, -1..1; equal numbers share their mean rank.

    NaN where a row is constant or shorter than two.
    """
    ranks = [_ranks(np.asarray(row, np.float64)) for row in (left, right)]
    if len(ranks[0]) != len(ranks[1]):
        raise ValueError(f"rows of {len(ranks[0])} and {len(ranks[1])} numbers")
    if len(ranks[0]) < 2 or any(row.std() == 0 for row in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(row: Floats) -> Floats:
    _, place, count = np.unique(row, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    middle: Floats = (last - (count - 1) / 2)[place]
    return middle


def _filled(values: Floats, otherwise: Floats) -> Floats:
    return np.where(np.isnan(values), otherwise, values)
