"""How well tags can be told from photos: average precision, and predictions for photos that were left out.

Shape suffixes: n photos, K classes, D numbers of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PENALTIES = tuple(10.0**power for power in range(-2, 6))  # of the ridge, times photos / numbers of a feature
SHUFFLES = 40  # of the tags, for what chance alone gives
NEWTON_STEPS = 25
FILLINGS = 50  # rounds in which predictions take the place of tags that are left open


def average_precision(score_n: Floats, present_n: Bools) -> float:
    """Average precision, 0..1, of one class: mean over its photos of the share of its photos among those with at least
    their score. Equal scores share their places. NaN where all or no photos carry the class."""
    positives = int(present_n.sum())
    if positives in (0, len(present_n)):
        return float("nan")
    order = np.argsort(-score_n, kind="stable")
    hits = np.cumsum(present_n[order])
    ends = np.append(np.flatnonzero(np.diff(score_n[order])), len(order) - 1)  # the last place of each tie
    recall = np.diff(np.append(0.0, hits[ends])) / positives
    return float((recall * hits[ends] / (ends + 1)).sum())


def precisions(score_nK: Floats, tag_nK: Bools) -> Floats:
    """Average precision (K,) of every class; NaN where there is none."""
    return np.array([average_precision(score, tag) for score, tag in zip(score_nK.T, tag_nK.T, strict=True)])


def lift(score_nK: Floats, tag_nK: Bools) -> float:
    """How much better than chance scores rank photos by class: mean of (AP - share) / (1 - share) over classes, where
    share is that of the class's photos. 1: perfectly; 0: as chance would with many photos. NaN without a class that
    some photos carry and some do not."""
    share_K = tag_nK.mean(axis=0)
    precision_K = precisions(score_nK, tag_nK)
    known = ~np.isnan(precision_K)
    return float(np.mean((precision_K - share_K)[known] / (1 - share_K[known]))) if known.any() else float("nan")


def mean_precision(score_nK: Floats, tag_nK: Bools) -> tuple[float, float]:
    """Mean average precision over the classes that have one, and what chance gives: the mean share of their photos."""
    precision_K = precisions(score_nK, tag_nK)
    known = ~np.isnan(precision_K)
    if not known.any():
        return float("nan"), float("nan")
    return float(precision_K[known].mean()), float(tag_nK.mean(axis=0)[known].mean())


def chance(score_nK: Floats, tag_nK: Bools, *, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of the lift of these scores for tags dealt to photos at random."""
    random = np.random.default_rng(seed)
    lifts = [lift(score_nK, tag_nK[random.permutation(len(tag_nK))]) for _ in range(SHUFFLES)]
    return float(np.mean(lifts)), float(np.std(lifts))


@dataclass(frozen=True)
class Foretold:
    """What photos tell of tags, learned from n photos: `left_out_nK`, probability 0..1 of every class in each of them,
    from the others alone; and what is needed for further photos."""

    left_out_nK: Floats
    mean_D: Floats
    spread_D: Floats  # 0 for numbers that are the same in all photos
    weight_DK: Floats
    share_K: Floats
    curve: Curve | None

    def of(self, feature_mD: Floats) -> Floats:
        """Probability (m,K) of every class in other photos, from their features."""
        used = self.spread_D > 0
        scaled = (feature_mD[:, used] - self.mean_D[used]) / self.spread_D[used]
        score_mK = self.share_K + scaled @ self.weight_DK[used]
        return score_mK.clip(0, 1) if self.curve is None else self.curve.of(score_mK)


def foretold(feature_nD: Floats, tag_nK: Bools, known_nK: Bools | None = None) -> Foretold:
    """Learn from photos what their features tell of their tags.

    Ridge regression of the tags on standardised features; what it says of a photo that it is fitted without is known in
    closed form: y - (y - ŷ) / (1 - h). One penalty for all classes, by the least error of those predictions, which a
    logistic curve of two numbers then turns into probabilities (those two are fitted to all known tags).

    known: tags to learn from. The others (left open) teach nothing: what is predicted of them is put in their place
    until that changes no more, so that they pull at nothing.
    """
    known_nK = np.ones(tag_nK.shape, np.bool_) if known_nK is None else known_nK
    target_nK = tag_nK & known_nK
    share_K = target_nK.sum(axis=0) / np.maximum(1, known_nK.sum(axis=0))
    mean_D, spread_D = feature_nD.mean(axis=0), feature_nD.std(axis=0)
    used, count = spread_D > 1e-12, len(feature_nD)
    spread_D = np.where(used, spread_D, 0.0)
    nothing = np.zeros((feature_nD.shape[1], tag_nK.shape[1]))
    if count < 3 or not used.any():
        same = np.broadcast_to(share_K, tag_nK.shape).copy()
        return Foretold(same, mean_D, spread_D, nothing, share_K, None)
    scaled = (feature_nD[:, used] - mean_D[used]) / spread_D[used]
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    best: tuple[float, Floats, Floats, Floats] | None = None
    for penalty in PENALTIES:
        kept = values**2 / (values**2 + penalty * count)
        told_nK = np.where(known_nK, target_nK, share_K)
        for _ in range(1 if known_nK.all() else FILLINGS):
            base_K = told_nK.mean(axis=0)
            fitted = base_K + left @ (kept[:, None] * (left.T @ (told_nK - base_K)))
            told_nK = np.where(known_nK, target_nK, fitted)
        weight_n = np.minimum(1 / count + (left**2 * kept).sum(axis=1), 1 - 1e-6)
        without = told_nK - (told_nK - fitted) / (1 - weight_n)[:, None]
        error = float(((without - target_nK)[known_nK] ** 2).mean()) if known_nK.any() else 0.0
        if best is None or error < best[0]:
            slopes = right.T @ ((kept / np.maximum(values, 1e-12))[:, None] * (left.T @ (told_nK - base_K)))
            best = error, without, slopes, base_K
    assert best is not None
    curve = Curve.fitted(best[1][known_nK], tag_nK[known_nK])
    nothing[used] = best[2]
    return Foretold(curve.of(best[1]), mean_D, spread_D, nothing, best[3], curve)


def doubts(told_nK: Floats, tag_nK: Bools, known_nK: Bools | None = None) -> list[tuple[int, int, float]]:
    """(photo, class, doubt 0..1) of every known tag, the most doubtful first: how far from it the prediction is."""
    far_nK = np.abs(tag_nK.astype(np.float64) - told_nK)
    places = np.argwhere(np.ones(tag_nK.shape, np.bool_) if known_nK is None else known_nK)
    order = np.argsort(-far_nK[places[:, 0], places[:, 1]], kind="stable")
    return [(int(row), int(column), float(far_nK[row, column])) for row, column in places[order]]


def turned(told_nK: Floats, tag_nK: Bools, known_nK: Bools, *, least: float) -> Bools:
    """Where (n,K) a known tag, or its absence, is contradicted with a probability of at least `least`."""
    return known_nK & (np.abs(tag_nK.astype(np.float64) - told_nK) >= least)


@dataclass(frozen=True)
class Curve:
    """Scores as probabilities: 1 / (1 + exp(-(start + slope · (score - mean) / spread)))."""

    start: float
    slope: float
    mean: float
    spread: float

    def of(self, score: Floats) -> Floats:
        """The probabilities of scores, in any shape."""
        return _sigmoid(self.start + self.slope * (score - self.mean) / self.spread)

    @classmethod
    def fitted(cls, score_n: Floats, tag_n: Bools) -> Curve:
        """Start and slope >= 0 by the likelihood of all tags together."""
        target = tag_n.astype(np.float64)
        if not len(target) or target.min() == target.max():
            share = (target.sum() + 0.5) / (len(target) + 1)
            return cls(float(np.log(share / (1 - share))), 0.0, 0.0, 1.0)
        scale = max(float(score_n.std()), 1e-12)
        design = np.stack([np.ones_like(score_n), (score_n - score_n.mean()) / scale], axis=1)
        weights = np.zeros(2)
        for _ in range(NEWTON_STEPS):
            chance_n = _sigmoid(design @ weights)
            gradient = design.T @ (chance_n - target) + 1e-3 * weights
            bend = (design * (chance_n * (1 - chance_n))[:, None]).T @ design + 1e-3 * np.eye(2)
            step = np.linalg.solve(bend, gradient)
            weights = weights - step * min(1.0, 4.0 / max(1e-12, float(np.abs(step).max())))
        return cls(float(weights[0]), max(0.0, float(weights[1])), float(score_n.mean()), scale)


def _sigmoid(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))
