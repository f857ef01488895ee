"""How well scores tell photos with a tag from the rest: against scikit-learn, by hand, and noise is not praised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from semples.evaluation.known import auc, auc_error, better_word, taken_for

NUMBERS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40)


@given(NUMBERS)
def test_auc_agrees_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, tags = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if tags.all() or not tags.any():
        assert np.isnan(auc(scores, tags))
    else:
        assert auc(scores, tags) == pytest.approx(roc_auc_score(tags, scores))


def test_the_error_is_that_of_many_draws() -> None:
    rng = np.random.default_rng(0)
    tags = np.arange(60) < 20
    values = [auc(rng.normal(size=60) + tags, tags) for _ in range(2000)]
    assert auc_error(float(np.mean(values)), 20, 40) == pytest.approx(np.std(values), rel=0.15)


def test_taken_for() -> None:
    tags = np.array([[1, 0, 0]] * 4 + [[0, 1, 0]] * 4 + [[0, 0, 1]] * 4, bool)
    scores = np.where(tags, 1.0, 0.0)
    scores[:3] = [0, 5, 0]  # three of four photos of the first class look like the second
    assert taken_for(scores, tags, 0)[0] == (1, 0.75)
    assert taken_for(scores + [100, 0, -7], tags, 0)[0] == (1, 0.75)  # texts that anything is like do not count


def test_a_better_word_is_found_and_luck_is_not() -> None:
    rng = np.random.default_rng(1)
    tags = np.arange(100) < 30
    noise = rng.normal(size=(100, 3))
    known = noise + np.outer(tags, [0.0, 3.0, 0.0])
    better = better_word(known, tags, present=0)
    assert better is not None
    assert better.place == 1
    assert better.gain == pytest.approx(auc(known[:, 1], tags) - auc(known[:, 0], tags), abs=0.1)
    praised, ahead = 0, []
    for _ in range(30):  # two hundred words of noise: the best of them beats the present one on the photos at hand
        lucky = rng.normal(size=(100, 200))
        ahead.append(max(auc(lucky[:, word], tags) for word in range(200)) - auc(lucky[:, 0], tags))
        praised += better_word(lucky, tags, present=0) is not None
    assert np.mean(ahead) > 0.1
    assert praised <= 3


def test_nothing_is_said_from_a_few_photos() -> None:
    tags = np.arange(40) < 6
    assert better_word(np.stack([~tags, tags], 1).astype(float), tags, present=0) is None
