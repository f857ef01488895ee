from __future__ import annotations

import numpy as np
import pytest

from semples.labels.proposals.base import make_proposer
from semples.labels.regions import Level
from semples.settings.kinds import PROPOSALS
from semples.settings.labels import RegionSettings


def settings_of(proposals: str, scales: tuple[float, ...]) -> RegionSettings:
    made: RegionSettings = PROPOSALS.settings_of(proposals)(scales=scales, min_area=4)
    return made


def drawn() -> np.ndarray:
    """A disc on a gradient, uint8 (40,60,3)."""
    y, x = np.mgrid[:40, :60]
    photo = np.stack([x * 3, y * 4, x + y], axis=2).astype(np.uint8)
    photo[(y - 20) ** 2 + (x - 30) ** 2 < 100] = (250, 30, 200)
    return photo


def segments(level: Level, shape: tuple[int, int]) -> np.ndarray:
    numbers = np.full(shape[0] * shape[1], -1)
    place, region = level.pixels()
    assert len(place) == numbers.size  # each pixel once
    numbers[place] = region
    return numbers.reshape(shape)


@pytest.mark.parametrize("proposals", ["felzenszwalb", "slic"])
def test_every_level_covers_the_photo_and_keeps_to_edges(proposals: str) -> None:
    propose = make_proposer(settings_of(proposals, (200.0, 50.0) if proposals == "slic" else (10.0, 40.0)))
    photo = drawn()
    regions = propose(photo)
    assert regions.shape == (40, 60)
    assert len(regions.levels[0]) > len(regions.levels[1]) > 1
    disc = photo[..., 0] == 250
    for level in regions.levels:
        parts = segments(level, regions.shape)
        assert parts.min() == 0
        inside = np.bincount(parts.ravel(), weights=disc.ravel()) / np.bincount(parts.ravel())
        assert np.minimum(inside, 1 - inside).mean() < 0.1
    again = propose(photo)
    for mine, other in zip(regions.levels, again.levels, strict=True):
        np.testing.assert_array_equal(mine.start, other.start)


@pytest.mark.parametrize("proposals", ["felzenszwalb", "slic"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (2, 50)])
def test_tiny_photos(proposals: str, shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    regions = make_proposer(settings_of(proposals, (100.0,)))(photo)
    assert segments(regions.levels[0], shape).min() == 0
