"""How far weights have moved, in lengths of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semples.networks.travel import travelled


def network(scale: float, *, side: int = 2) -> nn.Module:
    """Two layers whose matrices hold `scale` everywhere; vectors hold what is not to be counted."""
    made = nn.Sequential(nn.Linear(3, side), nn.Linear(side, 4))
    for weight in made.parameters():
        nn.init.constant_(weight, scale if weight.ndim > 1 else 100 * scale)
    return made


@pytest.mark.parametrize(("scale", "far"), [(1.0, 0.0), (1.5, 0.5), (-1.0, 2.0), (4.0, 3.0)])
def test_lengths_of_the_weights_themselves(scale: float, far: float) -> None:
    assert travelled(network(1.0), network(scale)) == pytest.approx(far)


def test_what_has_another_shape_or_is_new_does_not_count() -> None:
    grown = network(2.0)
    grown[1] = nn.Linear(2, 9)
    assert travelled(network(1.0), grown) == pytest.approx(1.0)
    assert travelled(network(1.0), network(2.0, side=3)) is None
    assert travelled(network(0.0), network(2.0)) is None
    assert travelled(network(1.0).bfloat16(), network(1.5).half()) == pytest.approx(0.5)


def test_weights_in_whole_numbers_are_left_out() -> None:
    start, trained = network(1.0), network(2.0)
    for made in (start, trained):
        made.register_parameter("table", nn.Parameter(torch.full((2, 2), 7), requires_grad=False))
    assert travelled(start, trained) == pytest.approx(1.0)
