"""Predictions of tags from the other photos, against scikit-learn, and by what they must find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from semples.evaluation.crossfit import cross_fitted, doubts, predicted


def world(seed: int, *, photos: int = 120, numbers: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    feature = rng.normal(size=(photos, numbers))
    tags = feature[:, :classes] + 0.3 * rng.normal(size=(photos, classes)) > 0.2
    return feature * rng.uniform(0.1, 9, numbers) + rng.normal(size=numbers), tags


def test_against_scikit_learn() -> None:
    feature, tags = world(0)
    mean, spread = feature[:80].mean(0), feature[:80].std(0)
    told = predicted(feature[:80], tags[:80], np.ones((80, 3), bool), feature[80:], 4.0)
    for k in range(3):
        oracle = LogisticRegression(C=1 / 4.0, tol=1e-8, max_iter=2000).fit(
            (feature[:80] - mean) / spread, tags[:80, k]
        )
        np.testing.assert_allclose(told[:, k], oracle.predict_proba((feature[80:] - mean) / spread)[:, 1], atol=2e-3)


def test_wrong_tags_come_first() -> None:
    """Of flipped tags most are among as many most doubtful ones; chance would find one in ten."""
    feature, tags = world(1, photos=300)
    rng = np.random.default_rng(2)
    flipped = rng.random(tags.shape) < 0.1
    told = cross_fitted(feature, tags ^ flipped)
    first = doubts(told, tags ^ flipped)[: int(flipped.sum())]
    assert np.mean([flipped[n, k] for n, k, _ in first]) > 0.6
    far = [value for *_, value in first]
    assert far == sorted(far, reverse=True)


def test_a_photo_says_nothing_of_itself() -> None:
    """Its own tag changes no prediction of it."""
    feature, tags = world(3, photos=40)
    other = tags.copy()
    other[7, 1] ^= True
    assert cross_fitted(feature, tags)[7, 1] == pytest.approx(cross_fitted(feature, other)[7, 1], abs=1e-9)


def test_open_tags_teach_nothing_and_are_not_listed() -> None:
    feature, tags = world(4, photos=60)
    known = np.ones(tags.shape, bool)
    known[::5, 0] = False
    other = tags ^ ~known
    told = cross_fitted(feature, tags, known)
    np.testing.assert_allclose(cross_fitted(feature, other, known), told, atol=1e-9)
    assert len(doubts(told, tags, known)) == known.sum()
    assert all(known[n, k] for n, k, _ in doubts(told, tags, known))


def test_odd_classes() -> None:
    feature, tags = world(5, photos=30)
    tags[:, 0], tags[:, 1] = False, True
    told = cross_fitted(feature, tags)
    assert np.isfinite(told).all()
    assert (told[:, 0] < 0.1).all()
    assert (told[:, 1] > 0.9).all()
    with pytest.raises(ValueError, match="two photos"):
        cross_fitted(feature[:1], tags[:1])
    assert np.isfinite(cross_fitted(np.zeros((4, 3)), tags[:4])).all()
