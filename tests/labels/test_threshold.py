from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.labels.threshold import label_map, winner_map


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 5),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    step=st.integers(0, 100),
)
def test_labels_are_the_argmax_over_threshold_and_maps(
    seed: int, count: int, height: int, width: int, step: int
) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.choice(254, size=count, replace=False).tolist()
    cams = {index: (rng.integers(0, 21, (height, width)) / 20).astype(np.float32) for index in classes}  # many ties
    tau = step / 100
    stack = np.stack([np.full((height, width), np.float32(tau)), *(cams[index] for index in classes)])
    expected = np.array([0, *(index + 1 for index in classes)])[stack.argmax(axis=0)]
    labels = label_map(cams, (height, width), threshold=tau)
    assert labels.dtype == np.uint8
    assert (labels == expected).all()
    winner, value = winner_map(cams, (height, width))
    if count:
        assert (value == stack[1:].max(axis=0)).all()
        assert (winner == np.array([index + 1 for index in classes])[stack[1:].argmax(axis=0)]).all()


def test_without_classes_everything_is_background() -> None:
    winner, value = winner_map({}, (2, 3))
    assert winner.shape == (2, 3)
    assert not winner.any()
    assert np.isneginf(value).all()
    assert not label_map({}, (2, 3), threshold=0.0).any()


def test_bad_maps_are_refused() -> None:
    cam = np.zeros((2, 3), np.float32)
    for cams in ({0: cam.T}, {0: cam.astype(np.float64)}, {254: cam}, {-1: cam}):
        with pytest.raises(ValueError):
            winner_map(cams, (2, 3))
