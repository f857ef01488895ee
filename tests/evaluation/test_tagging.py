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


def left_out(features: np.ndarray, tags: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    return tagging.foretold(features, tags, known).left_out_nK


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
    monkeypatch.setattr(tagging.Curve, "of", lambda curve, score: score)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    expected = []
    for photo in range(len(tags)):
        rest = np.arange(len(tags)) != photo
        fit = Ridge(alpha=penalty * len(tags)).fit(scaled[rest], tags[rest].astype(float))
        expected.append(fit.predict(scaled[photo : photo + 1])[0])
    np.testing.assert_allclose(left_out(features, tags), expected, atol=1e-8)


def test_tags_are_told_where_photos_tell_them_and_not_where_they_do_not() -> None:
    features, tags = world(1, photos=120)
    told = left_out(features, tags)
    assert ((told >= 0) & (told <= 1)).all()
    assert tagging.lift(told, tags) > 0.8
    dealt = tags[np.random.default_rng(2).permutation(len(tags))]
    lift, (mean, spread) = tagging.lift(left_out(features, dealt), dealt), tagging.chance(told, tags)
    assert lift < mean + 4 * spread < tagging.lift(told, tags)


def test_a_wrong_tag_is_the_most_doubtful() -> None:
    features, tags = world(3, photos=100)
    given_tags = tags.copy()
    given_tags[17, 1] = not tags[17, 1]
    told = left_out(features, given_tags)
    doubt = np.where(given_tags, 1 - told, told)
    assert np.unravel_index(doubt.argmax(), doubt.shape) == (17, 1)


def test_nothing_to_tell() -> None:
    same, tags = np.ones((5, 2)), np.array([[True], [False], [True], [False], [False]])
    assert left_out(same, tags) == pytest.approx(np.full((5, 1), 0.4))
    assert np.isnan(tagging.lift(np.ones((4, 1)), np.ones((4, 1), bool)))
    everywhere = left_out(np.random.default_rng(0).normal(size=(6, 2)), np.ones((6, 1), bool))
    assert (everywhere > 0.8).all()
    assert np.isfinite(left_out(np.zeros((2, 3)), np.array([[True], [False]]))).all()


def test_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(4)
    chance = random.random((2000, 1))
    tags = random.random((2000, 1)) < chance
    logit = np.log(chance / (1 - chance))
    assert np.abs(tagging.Curve.fitted((3 * logit - 1)[:, 0], tags[:, 0]).of(3 * logit - 1) - chance).mean() < 0.02


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_other_photos_are_foretold_as_by_scikit_learn(penalty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    features, tags = world(5)
    monkeypatch.setattr(tagging, "PENALTIES", (penalty,))
    monkeypatch.setattr(tagging.Curve, "of", lambda curve, score: score)
    mean, spread = features[:30].mean(axis=0), features[:30].std(axis=0)
    fit = Ridge(alpha=penalty * 30).fit((features[:30] - mean) / spread, tags[:30].astype(float))
    told = tagging.foretold(features[:30], tags[:30]).of(features[30:])
    np.testing.assert_allclose(told, fit.predict((features[30:] - mean) / spread), atol=1e-8)


def test_wrong_tags_come_first() -> None:
    """Of flipped tags most are among as many most doubtful ones; chance would find one in ten."""
    features, tags = world(6, photos=300)
    flipped = np.random.default_rng(7).random(tags.shape) < 0.1
    first = tagging.doubts(left_out(features, tags ^ flipped), tags ^ flipped)[: int(flipped.sum())]
    assert np.mean([flipped[n, k] for n, k, _ in first]) > 0.6
    far = [value for *_, value in first]
    assert far == sorted(far, reverse=True)


def test_open_tags_teach_nothing_and_are_not_listed() -> None:
    """What stands in their place changes nothing; with them the others are told as by fits that never saw them."""
    features, tags = world(8, photos=60)
    known = np.ones(tags.shape, bool)
    known[::5, 0] = False
    told = left_out(features, tags, known)
    np.testing.assert_allclose(left_out(features, tags ^ ~known, known), told, atol=1e-12)
    listed = tagging.doubts(told, tags, known)
    assert len(listed) == known.sum()
    assert all(known[n, k] for n, k, _ in listed)


def test_open_tags_are_foretold_from_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    features, tags = world(9, photos=60)
    known = np.ones(tags.shape, bool)
    known[::5, 0] = False
    monkeypatch.setattr(tagging, "PENALTIES", (0.1,))
    monkeypatch.setattr(tagging.Curve, "of", lambda curve, score: score)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    fit = Ridge(alpha=0.1 * 60).fit(scaled[known[:, 0]], tags[known[:, 0], 0].astype(float))
    expected = fit.predict(scaled[~known[:, 0]])
    np.testing.assert_allclose(left_out(features, tags, known)[~known[:, 0], 0], expected, atol=1e-3)
