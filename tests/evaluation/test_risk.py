"""Risk and coverage against a plain count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from semples.evaluation.risk import LEVELS, RiskCoverage


def test_figures_are_those_of_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    adding = RiskCoverage(2)
    photos = []
    for shape in ((20, 30), (11, 5)):
        truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), shape)
        labels = np.where(rng.random(shape) < 0.6, truth % 255, rng.integers(0, 3, shape)).astype(np.uint8)
        confidence = np.clip(rng.random(shape) + 0.2 * (labels == truth), 0, 1).astype(np.float32)
        confidence[0, 0], confidence[0, 1] = 0.0, 1.0
        photos.append((truth, labels, confidence))
        adding.add(truth, labels, confidence)
    truth, labels, confidence = (np.concatenate([photo[k].ravel() for photo in photos]) for k in range(3))
    known = truth != 255
    rows = adding.result()
    assert [row.least for row in rows] == list(LEVELS)
    assert rows[0].coverage == 1.0
    for row in rows:
        sure = known & (confidence >= np.float32(row.least))
        assert row.coverage == pytest.approx(sure.sum() / known.sum())
        assert row.risk == pytest.approx((labels[sure] != truth[sure]).mean())
        expected = jaccard_score(truth[sure], labels[sure], average="macro")
        assert row.miou == pytest.approx(100 * expected)
    assert rows[0].risk > rows[-1].risk


def test_nothing_is_sure() -> None:
    adding = RiskCoverage(1)
    adding.add(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8), np.full((2, 2), 0.25, np.float32))
    rows = adding.result()
    assert [row.coverage for row in rows[:4]] == [1.0, 1.0, 1.0, 0.0]
    assert math.isnan(rows[3].risk)
    assert rows[3].as_json() == {"min_confidence": 0.3, "coverage": 0.0, "risk": None, "miou": None}
