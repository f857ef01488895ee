"""FP-own and AUC against counting by hand and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from semples.evaluation.cooccurrence import BINS, CooccurrenceAccumulator


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 3))
def test_against_scikit_learn(seed: int, size: int, photos: int) -> None:
    rng = np.random.default_rng(seed)
    accumulator = CooccurrenceAccumulator([1, 2])
    values: list[list[np.ndarray]] = [[], []]
    taken, shown = 0, 0
    for _ in range(photos):
        cam = (rng.integers(0, BINS + 1, (size, size)) / BINS).astype(np.float32)
        background = rng.integers(0, 3, (size, size)).astype(np.uint8)
        truth = np.where(background == 0, rng.integers(0, 3, (size, size)), 0).astype(np.uint8)
        labels = np.where(cam > 0.5, np.uint8(1), np.uint8(0))
        accumulator.add({0: cam}, labels, truth, background)
        values[0].append(cam[truth == 1])
        values[1].append(cam[background == 1])
        taken += int(((background == 1) & (labels == 1)).sum())
        shown += int((background == 1).sum())
    high, low = (np.concatenate(side) for side in values)
    figures = accumulator.result()
    if len(high) and len(low):
        expected = roc_auc_score([1] * len(high) + [0] * len(low), np.concatenate([high, low]))
        assert figures.auc[0] == pytest.approx(expected, abs=1e-9)
        assert figures.mean_auc == figures.auc[0]
    assert np.isnan(figures.auc[1])
    if shown:
        assert figures.fp_own[0] == pytest.approx(taken / shown)
    assert np.isnan(figures.fp_own[1])


def test_a_class_that_is_not_shown_has_no_figure() -> None:
    figures = CooccurrenceAccumulator([1]).result()
    assert np.isnan(figures.mean_auc)
    assert np.isnan(figures.mean_fp_own)
