"""How well tags can be told from photos: average precision, and predictions for photos that were left out.

Shape suffixes: n photos, K classes, D numbers of a feature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PENALTIES = tuple(10.0**power for power in range(-2, 6))  # of the ridge, times photos / numbers of a feature
SHUFFLES = 40  # of the tags, for what chance alone gives
NEWTON_STEPS = 25


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


def left_out(feature_nD: Floats, tag_nK: Bools) -> Floats:
    """Probability (n,K) of every class in every photo, from the other photos alone.

    Ridge regression of the tags on standardised features; what it says of a photo that it is fitted without is known in
    closed form: y - (y - ŷ) / (1 - h). One penalty for all classes, by the least error of those predictions, which a
    logistic curve of two numbers then turns into probabilities (those two are fitted to all photos).
    """
    target_nK = tag_nK.astype(np.float64)
    spread_D = feature_nD.std(axis=0)
    used = spread_D > 1e-12
    scaled = (feature_nD[:, used] - feature_nD[:, used].mean(axis=0)) / spread_D[used]
    count = len(scaled)
    if count < 3 or not used.any():
        return np.broadcast_to(target_nK.mean(axis=0), target_nK.shape).copy()
    left, values, _ = np.linalg.svd(scaled, full_matrices=False)
    best: tuple[float, Floats] | None = None
    for penalty in PENALTIES:
        kept = values**2 / (values**2 + penalty * count)
        fitted = target_nK.mean(axis=0) + left @ (kept[:, None] * (left.T @ (target_nK - target_nK.mean(axis=0))))
        weight_n = np.minimum(1 / count + (left**2 * kept).sum(axis=1), 1 - 1e-6)
        without = target_nK - (target_nK - fitted) / (1 - weight_n)[:, None]
        error = float(((without - target_nK) ** 2).mean())
        if best is None or error < best[0]:
            best = error, without
    assert best is not None
    return calibrated(best[1], tag_nK)


def calibrated(score_nK: Floats, tag_nK: Bools) -> Floats:
    """Scores as probabilities: 1 / (1 + exp(-(a + b · score))), a and b >= 0 by the likelihood of all tags together."""
    score, target = score_nK.ravel(), tag_nK.ravel().astype(np.float64)
    if target.min() == target.max():
        return np.full_like(score_nK, (target.sum() + 0.5) / (len(target) + 1))
    scale = max(float(score.std()), 1e-12)
    design = np.stack([np.ones_like(score), (score - score.mean()) / scale], axis=1)
    weights = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        chance_n = _sigmoid(design @ weights)
        gradient = design.T @ (chance_n - target) + 1e-3 * weights
        bend = (design * (chance_n * (1 - chance_n))[:, None]).T @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(bend, gradient)
        weights = weights - step * min(1.0, 4.0 / max(1e-12, float(np.abs(step).max())))
    weights[1] = max(0.0, weights[1])
    return _sigmoid(design @ weights).reshape(score_nK.shape)


def _sigmoid(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))
