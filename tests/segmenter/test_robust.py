"""Capped losses, by hand and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semples.recipe import NoiseSettings
from semples.segmenter.robust import cap_suspicious, noisy_loss

# Two squares of 2 x 2: means 1 and 0.25, the mean of all 0.625.
LOSSES = [[0.0, 0.5, 0.0, 0.0], [0.5, 3.0, 1.0, 0.0]]
CAPPED = [[0.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.625, 0.0]]


def maps(rows: list[list[float]]) -> Tensor:
    return torch.tensor([rows], requires_grad=True)


def test_by_hand_values_and_gradients() -> None:
    losses = maps(LOSSES)
    capped = cap_suspicious(losses, torch.ones(1, 2, 4, dtype=torch.bool), start=1.2, patch=2)
    assert capped[0].tolist() == CAPPED
    capped.sum().backward()
    assert losses.grad is not None
    assert losses.grad[0].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1]]  # what was cut off teaches nothing


def test_young_training_is_left_alone() -> None:
    known = torch.ones(1, 2, 4, dtype=torch.bool)
    assert cap_suspicious(maps(LOSSES), known, start=0.6, patch=2)[0].tolist() == LOSSES
    assert cap_suspicious(maps(LOSSES), known, start=0.625, patch=2)[0].tolist() == CAPPED  # not above: capped


def test_unknown_pixels_enter_no_mean() -> None:
    known = torch.tensor([[[True, True, False, True], [True, False, True, True]]])
    # Known: 0, .5, .5 in the first square (mean 1/3), 0, 1, 0 in the second (1/3); all 1/3.
    capped = cap_suspicious(maps(LOSSES), known, start=1.2, patch=2)
    third = pytest.approx(1 / 3)
    assert capped[0].tolist() == [[0, third, 0, 0], [third, third, third, 0]]
    nothing = torch.zeros(1, 2, 4, dtype=torch.bool)
    assert cap_suspicious(torch.zeros(1, 2, 4), nothing, start=1.2, patch=2).sum() == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 11), st.integers(1, 12), st.floats(0, 2))
def test_equals_a_plain_loop(seed: int, height: int, width: int, patch: int, start: float) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.exponential(1, (2, height, width))
    known = rng.random((2, height, width)) < 0.8
    expected = losses.copy()
    for n in range(2):
        mean = losses[n][known[n]].mean() if known[n].any() else 0.0
        if mean > start:
            continue
        for top in range(0, height, patch):
            for left in range(0, width, patch):
                box = np.s_[n, top : top + patch, left : left + patch]
                inside = losses[box][known[box]]
                expected[box] = np.minimum(losses[box], max(inside.mean() if inside.size else 0.0, mean))
    capped = cap_suspicious(torch.from_numpy(losses), torch.from_numpy(known), start=start, patch=patch)
    np.testing.assert_allclose(capped.numpy(), expected, rtol=1e-12)


def test_the_loss_of_a_batch() -> None:
    losses = torch.tensor([LOSSES, [[1.0, 0, 0, 0], [0, 0, 0, 0]]])
    labels = torch.zeros(2, 2, 4, dtype=torch.uint8)
    full = torch.full((2, 2, 4), 255, dtype=torch.uint8)
    plain = noisy_loss(losses, labels, full, NoiseSettings())
    assert plain.item() == pytest.approx((5.0 + 1.0) / 16)
    half = noisy_loss(losses, labels, full // 5, NoiseSettings())
    assert half.item() == pytest.approx(plain.item() / 5)
    each = noisy_loss(losses, labels, full, NoiseSettings(clip="photo", clip_patch=2))
    # The second photo's only loss, 1, is capped at its square's mean 0.25.
    assert each.item() == pytest.approx((0.5 + 0.5 + 1.0 + 0.625 + 0.25) / 16)
    # The mean map is [[.5, .25, 0, 0], [.25, 1.5, .5, 0]]: squares .625 and .125, all .375.
    published = noisy_loss(losses, labels, full, NoiseSettings(clip="batch", clip_patch=2))
    assert published.item() == pytest.approx((0.5 + 0.25 + 0.25 + 0.625 + 0.375) / 8)


def test_pixels_left_out_by_one_photo_of_a_batch() -> None:
    losses = torch.tensor([[[2.0, 1.0]], [[0.0, 3.0]]])
    labels = torch.tensor([[[0, 1]], [[255, 1]]], dtype=torch.uint8)
    full = torch.full((2, 1, 2), 255, dtype=torch.uint8)
    loss = noisy_loss(losses, labels, full, NoiseSettings(clip="batch", clip_start=9.0, clip_patch=2))
    # One photo knows the first pixel (2), two the second (mean 2): nothing stands out, and the mean is the plain one.
    assert loss.item() == pytest.approx((2 + 1 + 3) / 4)
