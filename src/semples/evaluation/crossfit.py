"""What photos say of each other's tags: predictions of every tag from photos that it was not learned from.

Logistic regression on frozen features, cross-fitted over folds. Where tag and prediction disagree most, a look is worth
most (the idea of confident learning, Northcutt et al. 2021).

Shape suffixes: n photos, K classes, D numbers of a feature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FOLDS = 5
PENALTIES = (1.0, 10.0, 100.0)  # on the squared weights of standardised features; the one that predicts best is taken
STEPS = 200


def cross_fitted(feature_nD: Floats, tag_nK: Bools, known_nK: Bools | None = None, *, seed: int = 0) -> Floats:
    """Probability (n,K), 0..1, of every class in every photo, each from the photos of the other folds.

    known: tags to learn from; others (left open) teach nothing, and are predicted all the same. A class that the other
    folds show in all photos or in none gets their share. Raises ValueError for less than two photos.
    """
    count = len(feature_nD)
    if count < 2:
        raise ValueError("at least two photos are needed")
    known_nK = np.ones(tag_nK.shape, np.bool_) if known_nK is None else known_nK
    folds = np.random.default_rng(seed).permutation(count) % min(FOLDS, count)
    best: tuple[float, Floats] | None = None
    for penalty in PENALTIES:
        told_nK = np.zeros(tag_nK.shape)
        for fold in np.unique(folds):
            rest = folds != fold
            told_nK[~rest] = predicted(feature_nD[rest], tag_nK[rest], known_nK[rest], feature_nD[~rest], penalty)
        safe = told_nK.clip(1e-6, 1 - 1e-6)
        loss = -float(np.where(tag_nK, np.log(safe), np.log1p(-safe))[known_nK].mean()) if known_nK.any() else 0.0
        if best is None or loss < best[0]:
            best = (loss, told_nK)
    assert best is not None
    return best[1]


def predicted(
    feature_nD: Floats, tag_nK: Bools, known_nK: Bools, other_mD: Floats, penalty: float = PENALTIES[1]
) -> Floats:
    """Probability (m,K) of every class in other photos, learned from `feature` and the `known` tags of n photos."""
    mean_D, spread_D = feature_nD.mean(0), feature_nD.std(0)
    spread_D = np.where(spread_D > 1e-12, spread_D, 1.0)
    scaled, others = (feature_nD - mean_D) / spread_D, (other_mD - mean_D) / spread_D
    weight_nK = known_nK.astype(np.float64)
    share_K = ((tag_nK & known_nK).sum(0) + 0.5) / (known_nK.sum(0) + 1.0)
    D, K = scaled.shape[1], tag_nK.shape[1]
    target_nK = tag_nK.astype(np.float64)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(D + 1, K)
        logit_nK = scaled @ weights[:-1] + weights[-1]
        value = float((weight_nK * (np.logaddexp(0, logit_nK) - target_nK * logit_nK)).sum())
        slope_nK = weight_nK * (expit(logit_nK) - target_nK)
        gradient = np.vstack([scaled.T @ slope_nK + penalty * weights[:-1], slope_nK.sum(0)])
        return value + 0.5 * penalty * float((weights[:-1] ** 2).sum()), gradient.ravel()

    start = np.vstack([np.zeros((D, K)), np.log(share_K / (1 - share_K))])
    answer = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    weights = answer.x.reshape(D + 1, K)
    told_mK: Floats = expit(others @ weights[:-1] + weights[-1])
    positive = (tag_nK & known_nK).sum(0)
    constant = (positive == 0) | (positive == known_nK.sum(0))
    told_mK[:, constant] = share_K[constant]
    return told_mK


def doubts(told_nK: Floats, tag_nK: Bools, known_nK: Bools | None = None) -> list[tuple[int, int, float]]:
    """(photo, class, doubt 0..1) of every known tag, the most doubtful first: how far from it the prediction is."""
    far_nK = np.abs(tag_nK.astype(np.float64) - told_nK)
    places = np.argwhere(np.ones(tag_nK.shape, np.bool_) if known_nK is None else known_nK)
    order = np.argsort(-far_nK[places[:, 0], places[:, 1]], kind="stable")
    return [(int(row), int(column), float(far_nK[row, column])) for row, column in places[order]]
