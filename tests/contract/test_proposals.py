"""What everything must do that proposes regions. A new line in `PROPOSALS` is tested from here; one with a network
needs tiny weights in `WEIGHTS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semples.labels.proposals.base import Proposer, make_proposer
from semples.labels.regions import decode_regions, encode_regions
from semples.settings.kinds import PROPOSALS
from tests.labels.proposals.test_sam import build_sam

SHAPES = [(40, 60), (33, 17), (1, 1), (1, 9), (2, 2)]


def sam_settings(folder: Path) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        build_sam().save_pretrained(folder)
    return {"model": str(folder), "points_per_side": 2, "min_quality": 0.0, "min_stability": 0.0, "min_area": 1}


WEIGHTS: dict[str, Callable[[Path], dict[str, Any]]] = {"sam": sam_settings}


@pytest.fixture(scope="module", params=list(PROPOSALS.shipped))
def proposer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Proposer:
    kind = PROPOSALS.load(request.param)
    changes = WEIGHTS[request.param](tmp_path_factory.mktemp(request.param)) if kind.has_network else {}
    return make_proposer(PROPOSALS.settings_of(request.param)(**changes))


def photo(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (-(-shape[0] // 8), -(-shape[1] // 8), 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))[: shape[0], : shape[1]]


@pytest.mark.parametrize("shape", SHAPES)
def test_regions_of_any_photo(proposer: Proposer, shape: tuple[int, int]) -> None:
    picture = photo(shape)
    kept = picture.copy()
    regions = proposer(picture)
    np.testing.assert_array_equal(picture, kept)
    assert regions.shape == shape
    assert regions.levels
    for level in regions.levels:
        assert level.quality.dtype == np.float32
        assert ((level.quality >= 0) & (level.quality <= 1)).all()
        assert (level.areas > 0).all()
        place, region = level.pixels()
        assert not len(place) or 0 <= place.min() <= place.max() < shape[0] * shape[1]
        assert set(np.unique(region)) == set(range(len(level)))
        if proposer.combine == "average":  # such levels cover the photo, each pixel once
            assert np.bincount(place, minlength=shape[0] * shape[1]).tolist() == [1] * (shape[0] * shape[1])
    stored = encode_regions(regions)
    assert encode_regions(decode_regions(stored)) == stored
    assert encode_regions(proposer(picture)) == stored  # equal photos have equal regions


def test_what_it_says_of_itself(proposer: Proposer) -> None:
    assert proposer.combine in ("paint", "average")
    assert hasattr(proposer.settings, "model") == proposer.has_network
