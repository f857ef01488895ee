"""The plug-in's generator keeps the contract of all generators, and learns colours from tags."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semples.data.classes import ClassList
from semples.generators.base import build_generator
from semples.recipe import GeneratorSettings
from semples.settings.kinds import GENERATORS
from tests.contract.test_generators import *  # noqa: F403 (its tests, over the generator below)
from tests.contract.test_generators import PATCH


@pytest.fixture
def settings(installed: str) -> GeneratorSettings:
    made: GeneratorSettings = GENERATORS.settings_of("patch-cam")(image_size=32, patch_size=PATCH)
    return made


def test_it_learns_colours_from_tags() -> None:
    """Green and red squares on a dark ground: the CAM lies on the square."""
    settings = GENERATORS.settings_of("patch-cam")(image_size=32)
    model = build_generator(settings, classes=ClassList(("disc", "square")), seed=0)
    photos, tags = np.full((8, 32, 32, 3), 40, np.uint8), torch.zeros(8, 2, dtype=torch.bool)
    for index in range(8):
        kind = index % 2
        photos[index, 8:16, 8 + index : 16 + index] = (220, 80, 60) if kind else (60, 200, 90)
        tags[index, kind] = True
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.mean, model.std))
    image = (torch.from_numpy(photos).permute(0, 3, 1, 2) / 255 - mean) / std
    optimizer = torch.optim.Adam(model.warmup_parameters(), lr=0.02)
    for _ in range(120):
        loss = model.classification_loss(image, tags).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cam = model.cams_of(photos[0], ["disc"])["disc"]
    assert cam[8:16, 8:16].mean() > 0.6
    assert cam[20:].mean() < 0.2
