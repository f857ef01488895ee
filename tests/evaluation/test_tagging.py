"""Average precision and left-out predictions against scikit-learn and against fits without each photo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from semples.evaluation import tagging


def world(seed: int, *, photos: int = 40, classes: int = 3, told: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n,D) that carry tags (n,K) with some noise."""
    random = np.random.default_rng(seed)
    tags = random.random((photos, classes)) < 0.4
    features = told * tags @ random.normal(size=(classes, 6)) + 0.3 * random.normal(size=(photos, 6))
    return features, tags


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, present = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    precision = tagging.average_precision(scores, present)
    if present.all() or not present.any():
        assert np.isnan(precision)
    else:
        assert precision == pytest.approx(average_precision_score(present, scores))


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_left_out_predictions_are_those_of_fits_without_the_photo(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, tags = world(0)
    monkeypatch.setattr(tagging, "PENALTIES", (penalty,))
    monkeypatch.setattr(tagging, "calibrated", lambda score, tag: score)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    expected = []
    for photo in range(len(tags)):
        rest = np.arange(len(tags)) != photo
        fit = Ridge(alpha=penalty * len(tags)).fit(scaled[rest], tags[rest].astype(float))
        expected.append(fit.predict(scaled[photo : photo + 1])[0])
    np.testing.assert_allclose(tagging.left_out(features, tags), expected, atol=1e-8)


def test_tags_are_told_where_photos_tell_them_and_not_where_they_do_not() -> None:
    features, tags = world(1, photos=120)
    told = tagging.left_out(features, tags)
    assert ((told >= 0) & (told <= 1)).all()
    assert tagging.lift(told, tags) > 0.8
    dealt = tags[np.random.default_rng(2).permutation(len(tags))]
    lift, (mean, spread) = tagging.lift(tagging.left_out(features, dealt), dealt), tagging.chance(told, tags)
    assert lift < mean + 4 * spread < tagging.lift(told, tags)


def test_a_wrong_tag_is_the_most_doubtful() -> None:
    features, tags = world(3, photos=100)
    given_tags = tags.copy()
    given_tags[17, 1] = not tags[17, 1]
    told = tagging.left_out(features, given_tags)
    doubt = np.where(given_tags, 1 - told, told)
    assert np.unravel_index(doubt.argmax(), doubt.shape) == (17, 1)


def test_nothing_to_tell() -> None:
    same, tags = np.ones((5, 2)), np.array([[True], [False], [True], [False], [False]])
    assert tagging.left_out(same, tags) == pytest.approx(np.full((5, 1), 0.4))
    assert np.isnan(tagging.lift(np.ones((4, 1)), np.ones((4, 1), bool)))
    everywhere = tagging.left_out(np.random.default_rng(0).normal(size=(6, 2)), np.ones((6, 1), bool))
    assert (everywhere > 0.8).all()
    assert np.isfinite(tagging.left_out(np.zeros((2, 3)), np.array([[True], [False]]))).all()


def test_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(4)
    chance = random.random((2000, 1))
    tags = random.random((2000, 1)) < chance
    logit = np.log(chance / (1 - chance))
    assert np.abs(tagging.calibrated(3 * logit - 1, tags) - chance).mean() < 0.02
