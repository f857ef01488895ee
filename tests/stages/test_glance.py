"""What a glance sees, on masks and a judge whose answers are known by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor

from semples.data.classes import ClassList
from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.recipe import PromptSettings
from semples.stages import glance as looks

SIDE = 32


class Red(Generator):
    """Class 0 is lit where a photo is red; class 1 on the left half, whatever the photo; class 2 nowhere."""

    num_classes, patch_size = 3, 1

    @classmethod
    def build(cls, settings: Any, *, classes: ClassList, seed: int) -> Self:
        return cls()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        return cls()

    def config_dict(self) -> dict[str, Any]:
        return {}

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        red_BHW = image_B3HW[:, 0].clamp(0, 1)
        left_BHW = torch.zeros_like(red_BHW)
        left_BHW[..., : red_BHW.shape[-1] // 2] = 1
        return torch.stack([red_BHW, left_BHW, torch.zeros_like(red_BHW)], dim=1)[pairs.photo, pairs.label]


class Colours(Judge):
    """Its feature of a view is the view's mean colour; the classes are red, green and blue."""

    image_size, scale = SIDE, 50.0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("targets", torch.eye(3))

    @classmethod
    def build(cls, settings: Any, *, classes: ClassList) -> Self:
        return cls()

    def encode(self, view_n3SS: Tensor) -> Tensor:
        return torch.nn.functional.normalize(view_n3SS.mean(dim=(2, 3)) + 1e-6, dim=1)

    def start_backgrounds(self, settings: PromptSettings, *, seed: int) -> Tensor:
        return torch.ones(3, 1, 3)

    def encode_backgrounds(self, vector_nMW: Tensor, settings: PromptSettings) -> Tensor:
        return torch.nn.functional.normalize(vector_nMW.mean(dim=1), dim=1)


@pytest.fixture
def photos() -> Tensor:
    """Two photos: a red square of 16 x 16 on green, and green alone."""
    image = torch.zeros(2, 3, SIDE, SIDE)
    image[:, 1] = 1
    image[0, :, 4:20, 4:20] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    return image


def test_a_glance_by_hand(photos: Tensor) -> None:
    tags = torch.tensor([[True, True, False], [False, True, True]])
    seen = looks.glance(Red(), Colours(), photos, tags)
    assert seen.photo_P.tolist() == [0, 0, 1, 1]
    assert seen.label_P.tolist() == [0, 1, 1, 2]
    assert seen.lit_P[0] == pytest.approx(16 * 16 / SIDE**2, abs=0.01)
    assert seen.lit_P[1] == seen.lit_P[2] == 0.5
    assert seen.lit_P[3] == 0
    assert seen.span_P.tolist() == [1, 1, 1, 0]
    assert seen.steady_P[0] > 0.9  # moves with the photo
    assert seen.steady_P[1] < 0.6  # stays on the left when the photo is mirrored
    assert seen.steady_P[3] == 0
    assert seen.edges_P[0] > 3  # drawn along the square's edge
    assert seen.edges_P[1] < seen.edges_P[0] / 2  # half the photo: the outline meets the square only at its ends
    assert seen.edges_P[2] == 0  # a photo without an edge
    assert seen.kept_P[0] > 0.99  # red alone is kept
    assert seen.left_P[0] < 0.01
    assert seen.tag_score_BK[:, 0].tolist() == pytest.approx([16 * 16 / SIDE**2, 0.0])


def test_an_outline_drawn_anywhere_is_as_steep_as_the_photo() -> None:
    """By hand: a slope of 2 on the outline's row of pixels alone, and the same everywhere."""
    mask, slope = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    assert looks.steepness(mask, slope).tolist() == pytest.approx([1.0])
    slope[:, 2:6, 2:6], slope[:, 3:5, 3:5] = 2, 1  # the 12 pixels of the outline
    assert looks.steepness(mask, slope).tolist() == pytest.approx([2 / ((64 + 12) / 64)])


def test_many_photos_are_seen_in_parts(photos: Tensor) -> None:
    many, tags = photos.repeat(9, 1, 1, 1), torch.tensor([[True, False, False]]).repeat(18, 1)
    seen = looks.glance(Red(), Colours(), many, tags)
    assert seen.photo_P.tolist() == list(range(18))
    assert np.ptp(seen.kept_P[::2]) < 1e-6
    nothing = looks.glance(Red(), Colours(), photos, torch.zeros(2, 3, dtype=torch.bool))
    assert looks.figures(nothing, np.zeros((2, 3), bool)) == {}


def test_figures_count_empty_and_flat_masks(photos: Tensor) -> None:
    tags = torch.tensor([[True, False, True], [True, False, True]])
    figures = looks.figures(looks.glance(Red(), Colours(), photos, tags), tags.numpy())
    assert (figures["pairs"], figures["empty"], figures["flat"], figures["full"]) == (4, 0.75, 0.75, 0.0)


def test_backgrounds_by_hand(photos: Tensor) -> None:
    seen = looks.glance(Red(), Colours(), photos, torch.tensor([[True, False, False], [True, False, False]]))
    learned = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    start = torch.full((3, 3), 3**-0.5)
    figures = looks.background_figures(seen, learned_KE=learned, start_KE=start, target_KE=torch.eye(3))
    assert figures["with_left"] == pytest.approx(1, abs=1e-3)  # green is left, green is the background of class 0
    assert figures["with_left_at_start"] == pytest.approx(3**-0.5, abs=1e-3)
    assert figures["named"] == 1
    assert figures["alike"] == pytest.approx(0)
    assert figures["target"] == pytest.approx(1 / 3)
