"""What all frozen features must do. A new line in `FEATURES` is tested from here, by tiny weights in `WEIGHTS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semples.features.base import Features, make_features
from semples.settings.kinds import FEATURES
from tests import tiny, vision_models

WEIGHTS: dict[str, Callable[[Path], Path]] = {
    "clip": tiny.save_clip,
    "vision": lambda folder: vision_models.save(folder, "dinov2"),
    "cnn": lambda folder: vision_models.save(folder, "convnext"),
}


@pytest.fixture(scope="module", params=list(FEATURES.shipped))
def features(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Features:
    folder = WEIGHTS[request.param](tmp_path_factory.mktemp(request.param) / "weights")
    return make_features(FEATURES.settings_of(request.param)(model=str(folder), side=64))


@pytest.mark.parametrize("shape", [(40, 60), (64, 64), (300, 7), (1, 1), (63, 65)])
def test_features_of_any_photo(features: Features, shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    kept = photo.copy()
    answer = features(photo)
    np.testing.assert_array_equal(photo, kept)
    height, width, _ = answer.shape
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    assert max(height, width) == round(64 / features.patch)
    assert (height < width) == (round(shape[0] / max(shape) * width) < width)
    assert features.normalised
    np.testing.assert_allclose(np.linalg.norm(answer, axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(features(photo), answer)


def test_places_are_those_of_the_photo(features: Features) -> None:
    """What changes in the upper left corner of a photo changes the features there most."""
    photo = np.full((64, 64, 3), 90, np.uint8)
    other = photo.copy()
    other[:14, :14] = (250, 10, 200)
    moved = np.abs(features(other) - features(photo)).sum(axis=-1)
    assert np.unravel_index(moved.argmax(), moved.shape) == (0, 0)
