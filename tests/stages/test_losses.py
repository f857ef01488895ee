"""Losses and masks against float64 formulas and numerical gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from semples.judges.losses import attract, cosine, repel, separate
from semples.networks.pairs import Pairs
from semples.stages.views import ViewMaker, cam_masks, views
from semples.training.task import TaggedBatch
from tests.training import toy


@settings(max_examples=100, deadline=None)
@given(st.floats(-1, 1))
def test_terms_of_a_cosine(value: float) -> None:
    clamped = min(max(value, 1e-4), 0.9999)
    given_cosine = torch.tensor([value], dtype=torch.float64)
    assert attract(given_cosine).item() == pytest.approx(-math.log(clamped), abs=1e-12)
    assert repel(given_cosine).item() == pytest.approx(-math.log(1 - clamped), abs=1e-12)
    assert separate(given_cosine).item() == pytest.approx(math.log(clamped), abs=1e-12)


def test_terms_pull_the_right_way() -> None:
    value = torch.tensor([0.3], requires_grad=True)
    for term, sign in ((attract, -1), (repel, 1), (separate, 1)):
        (slope,) = torch.autograd.grad(term(value).sum(), value)
        assert math.copysign(1, slope.item()) == sign


def test_cosine_is_the_plain_dot_product_of_pairs() -> None:
    left, right = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    torch.testing.assert_close(cosine(left, right), torch.tensor([0.6, 0.0]))


def plain_mask(cam: np.ndarray, size: int, epsilon: float) -> np.ndarray:
    """Bilinear with aligned corners, then (m - min) / (max - min + epsilon), entry by entry."""
    h, w = cam.shape
    grown = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y, x = i * (h - 1) / (size - 1), j * (w - 1) / (size - 1)
            y0, x0 = min(int(y), h - 1), min(int(x), w - 1)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            top = cam[y0, x0] * (1 - x + x0) + cam[y0, x1] * (x - x0)
            bottom = cam[y1, x0] * (1 - x + x0) + cam[y1, x1] * (x - x0)
            grown[i, j] = top * (1 - y + y0) + bottom * (y - y0)
    return (grown - grown.min()) / (grown.max() - grown.min() + epsilon)


@settings(max_examples=40, deadline=None)
@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 99), epsilon=st.sampled_from([0.1, 1e-4]))
def test_masks(h: int, w: int, seed: int, epsilon: float) -> None:
    cam = np.random.default_rng(seed).random((2, h, w))
    masks = cam_masks(torch.from_numpy(cam), size=7, epsilon=epsilon)
    for one, other in zip(masks, cam, strict=True):
        np.testing.assert_allclose(one.numpy(), plain_mask(other, 7, epsilon), atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.1, 1e-4])
def test_gradient_flows_through_minimum_and_maximum(epsilon: float) -> None:
    cam = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert gradcheck(lambda x: cam_masks(x, size=6, epsilon=epsilon), (cam,))
    (slope,) = torch.autograd.grad(cam_masks(cam, size=6, epsilon=epsilon).sum(), cam)
    # Adding a constant to a CAM changes nothing, so every map's gradient sums to 0; without the gradient of the
    # minimum it would not.
    torch.testing.assert_close(slope.sum((1, 2)), torch.zeros(2, dtype=torch.float64), atol=1e-10, rtol=0)


def test_relative_epsilon_is_a_tenth_of_the_range() -> None:
    cam = torch.rand(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    spans = (cam.amax((1, 2)) - cam.amin((1, 2))).tolist()
    masks = cam_masks(cam, size=4, epsilon="relative")
    for index, span in enumerate(spans):
        torch.testing.assert_close(
            masks[index : index + 1], cam_masks(cam[index : index + 1], size=4, epsilon=span / 10)
        )
    torch.testing.assert_close(cam_masks(cam * 1e-3, size=4, epsilon="relative"), masks)
    assert masks.amax() == pytest.approx(1 / 1.1)


@pytest.mark.parametrize("epsilon", [0.1, 1e-4, "relative"])
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_flat_cam_is_an_empty_mask_with_finite_gradients(epsilon: float | str, value: float) -> None:
    cam = torch.full((1, 3, 3), value, requires_grad=True)
    mask = cam_masks(cam, size=5, epsilon=epsilon)
    assert mask.abs().max() < 1e-3
    mask.sum().backward()
    assert torch.isfinite(cam.grad).all()


@pytest.mark.parametrize("epsilon", [0.1, "relative"])
def test_no_pair(epsilon: float | str) -> None:
    assert cam_masks(torch.zeros(0, 3, 3), size=5, epsilon=epsilon).shape == (0, 5, 5)


def test_views_are_cut_out_of_their_own_photo() -> None:
    photos, mask = torch.arange(24.0).reshape(2, 3, 2, 2), torch.tensor([[[0.0, 1.0], [0.25, 0.5]]] * 3)
    pairs = Pairs.of(torch.tensor([[True, False], [True, True]]))
    assert (pairs.photo.tolist(), pairs.label.tolist()) == ([0, 1, 1], [0, 0, 1])
    front, back = views(photos, mask, pairs)
    for index, photo in enumerate((0, 1, 1)):
        torch.testing.assert_close(front[index], photos[photo] * mask[index])
        torch.testing.assert_close(front[index] + back[index], photos[photo])


def test_masks_and_their_gradients_are_those_of_float32_in_half_precision() -> None:
    """In bf16 throughout, the gradient shrinks to about two thirds: a CAM's small differences are rounded away."""
    draw = torch.Generator().manual_seed(0)
    tags = torch.tensor([[True, False, True], [False, True, False]])
    image = torch.randn(2, 3, toy.SIDE, toy.SIDE, generator=draw)
    batch = TaggedBatch(image=image, tags=tags, noise=torch.rand(2, 4, generator=draw))
    weight_PSS = torch.randn(3, 8, 8, generator=draw)
    maker = ViewMaker(8, "relative")

    def gradient(*, half: bool) -> torch.Tensor:
        generator = toy.generator().eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            mask_PSS = maker.masks(generator, batch, Pairs.of(tags))
            assert mask_PSS.dtype == torch.float32
            loss = (mask_PSS * weight_PSS).sum()
        parameters = [value for value in generator.parameters() if value.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat([value.flatten() for value in gradients if value is not None])

    whole = gradient(half=False)
    assert whole.norm() > 0
    assert (gradient(half=True).norm() / whole.norm()).item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(gradient(half=True), whole)
