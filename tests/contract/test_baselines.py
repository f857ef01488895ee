"""What every baseline must do. A new line in `BASELINES` is tested from here; it needs tiny weights in `WEIGHTS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.baselines.base import Baseline, make_baseline
from semples.settings.kinds import BASELINES
from tests import vision_models

NAMES = ("boat", "猫", "dining table")


def clipseg_settings(folder: Path) -> dict[str, Any]:
    return {"model": str(vision_models.save_clipseg(folder)), "side": 32}


def grounded_settings(folder: Path) -> dict[str, Any]:
    models = vision_models.save_grounding_dino(folder / "dino"), vision_models.save_sam(folder / "sam")
    return {"model": str(models[0]), "sam": str(models[1]), "side": 64, "least_score": 0.01, "threshold": 0.1}


def sam3_settings(folder: Path) -> dict[str, Any]:
    return {"model": str(vision_models.save_sam3(folder)), "least_score": 0.1, "threshold": 0.1}


WEIGHTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "clipseg": clipseg_settings,
    "groundingdino+sam": grounded_settings,
    "sam3": sam3_settings,
}


@pytest.fixture(scope="module", params=list(BASELINES.shipped))
def baseline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    changes = WEIGHTS[request.param](tmp_path_factory.mktemp(request.param) / "weights")
    return make_baseline(BASELINES.settings_of(request.param)(**changes))


@pytest.mark.parametrize("shape", [(40, 60), (1, 1), (9, 100)])
@pytest.mark.parametrize("tags", [(), (1,), (0, 2), (0, 1, 2)])
def test_labels_of_any_photo(baseline: Baseline, shape: tuple[int, int], tags: tuple[int, ...]) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    kept = photo.copy()
    labelled = baseline.labels(photo, NAMES, tags)
    np.testing.assert_array_equal(photo, kept)
    assert labelled.labels.dtype == np.uint8
    assert labelled.confidence.dtype == np.float32
    assert labelled.labels.shape == labelled.confidence.shape == shape
    assert 0 <= labelled.confidence.min() <= labelled.confidence.max() <= 1
    assert set(np.unique(labelled.labels)) <= {0, *(tag + 1 for tag in tags)}
    if not tags:
        assert (labelled.confidence == 1).all()
    again = baseline.labels(photo, NAMES, tags)
    np.testing.assert_array_equal(again.labels, labelled.labels)
    np.testing.assert_array_equal(again.confidence, labelled.confidence)


def test_one_class(baseline: Baseline) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert set(np.unique(baseline.labels(photo, ("boat",), (0,)).labels)) <= {0, 1}
