from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.cams.affinity import box_mask, sinkhorn, spread
from semples.core.errors import UserError
from semples.recipe import AffinitySettings


def test_sinkhorn_by_hand() -> None:
    attention = torch.tensor([[1.0, 3.0], [1.0, 1.0]])
    # columns: [[1/2, 3/4], [1/2, 1/4]]; rows: [[2/5, 3/5], [2/3, 1/3]]; mean with the transpose
    expected = torch.tensor([[0.4, (0.6 + 2 / 3) / 2], [(0.6 + 2 / 3) / 2, 1 / 3]])
    torch.testing.assert_close(sinkhorn(attention, rounds=1), expected)
    torch.testing.assert_close(sinkhorn(attention, rounds=0), torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 1000))
def test_many_rounds_are_doubly_stochastic_and_symmetric(size: int, seed: int) -> None:
    attention = torch.rand(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.05
    balanced = sinkhorn(attention, rounds=200)
    torch.testing.assert_close(balanced, balanced.t())
    torch.testing.assert_close(balanced.sum(0), torch.ones(size, dtype=torch.float64))


def parts(above: np.ndarray) -> list[set[tuple[int, int]]]:
    """Connected parts, corners included, by breadth-first search."""
    rest = {tuple(place) for place in np.argwhere(above).tolist()}
    connected = []
    while rest:
        part, queue = set(), deque([rest.pop()])
        while queue:
            y, x = queue.popleft()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & rest
            rest -= near
            queue.extend(near)
        connected.append(part)
    return connected


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 1000))
def test_boxes_around_the_parts(height: int, width: int, seed: int) -> None:
    cam = np.random.default_rng(seed).random((height, width)) ** 2 * 5 + 3
    above = cam > cam.min() + 0.4 * np.ptp(cam)
    expected = np.zeros(cam.shape, bool)
    for part in parts(above):
        rows, columns = zip(*part, strict=True)
        expected[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] = True
    np.testing.assert_array_equal(box_mask(torch.from_numpy(cam), threshold=0.4).numpy(), expected)


def test_spread_is_the_power_of_the_affinity_inside_the_boxes() -> None:
    rng = torch.Generator().manual_seed(0)
    affinity = sinkhorn(torch.rand(12, 12, generator=rng, dtype=torch.float64), rounds=2)
    cams = torch.zeros(2, 3, 4, dtype=torch.float64)
    cams[0, 0, 1:3] = 1
    cams[1, 2, 3] = 2
    cams[1, 0, 0] = 0.5  # not above 0.4 of the range
    spread_out = spread(cams, affinity, AffinitySettings(power=2))
    for index, box in ((0, (slice(0, 1), slice(1, 3))), (1, (slice(2, 3), slice(3, 4)))):
        whole = (affinity @ affinity @ cams[index].flatten()).view(3, 4)
        expected = torch.zeros(3, 4, dtype=torch.float64)
        expected[box] = whole[box]
        torch.testing.assert_close(spread_out[index], expected)


def test_cams_with_affinity() -> None:
    """The option reaches the generator's attention, for every view; a generator without attention is named."""
    from semples.cams.make import photo_cams
    from semples.recipe import CamSettings
    from tests.cams.test_make import Colour, photo
    from tests.training import toy

    model = toy.generator(3).eval()
    image = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1))
    attention = model.patch_attention(image)
    torch.testing.assert_close(attention, model(image).patch_attention)
    assert (attention > 0).all()
    options = {"scales": (1.0,), "mirror": False}
    plain, changed = (
        photo_cams(
            model,
            [photo(32, 24)],
            [(0, 2)],
            settings=CamSettings(**options, affinity=AffinitySettings(power=power)),  # type: ignore[arg-type]
        )[0]
        for power in (0, 2)
    )
    assert any((plain[label] != changed[label]).any() for label in plain)
    assert all(cam.min() == 0 and cam.max() <= 1 for cam in changed.values())
    with pytest.raises(UserError, match="Colour has no attention between patches"):
        photo_cams(
            Colour(),  # type: ignore[arg-type]
            [photo(8, 8)],
            [(0,)],
            settings=CamSettings(**options, affinity=AffinitySettings(power=1)),  # type: ignore[arg-type]
        )
