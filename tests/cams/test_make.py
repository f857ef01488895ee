"""Multi-scale CAMs of whole photos with a generator whose CAMs are known by heart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.cams.make import photo_cams, scaled_inputs
from semples.networks.pairs import Pairs
from semples.recipe import CamSettings
from tests.training import toy

MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


class Colour:
    """CAM of class k: mean of colour channel k over each patch; asymmetric, so that a mirror matters."""

    num_classes = 3
    noise_size = 0
    mean, std = MEAN, STD

    def __init__(self, patch_size: int = 4) -> None:
        self.patch_size = patch_size

    def cams(self, image_B3HW: torch.Tensor, pairs: Pairs, *, noise_BZ: Any = None) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        assert not image_B3HW.requires_grad
        mean = F.avg_pool2d(image_B3HW, self.patch_size)
        mean = mean + torch.linspace(0, 0.2, mean.shape[-1])
        return mean[pairs.photo, pairs.label]

    def warmup_parameters(self) -> Iterable[torch.nn.Parameter]:
        return ()

    def train_parameters(self) -> Iterable[torch.nn.Parameter]:
        return ()


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def expected(picture: np.ndarray, label: int, scales: tuple[float, ...], mirror: bool) -> np.ndarray:
    """The definition, one view after the other: resize on uint8, CAM, resize to the photo, mirror back, sum."""
    height, width = picture.shape[:2]
    total = torch.zeros(height, width, dtype=torch.float64)
    for scale in scales:
        size = max(4, round(width * scale)), max(4, round(height * scale))
        resized = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        for turned in (False, True)[: 1 + mirror]:
            view = resized[:, ::-1].copy() if turned else resized
            image = torch.from_numpy(view).permute(2, 0, 1)[None].float() / 255
            with torch.no_grad():
                cam = Colour().cams(image, Pairs(torch.tensor([0]), torch.tensor([label])))[:, None]
            grown = F.interpolate(cam, (height, width), mode="bilinear", align_corners=False)[0, 0].double()
            total += grown.flip(-1) if turned else grown
    return ((total - total.min()) / (total.max() - total.min() + 1e-8)).numpy()


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), mirror=st.booleans(),
    scales=st.sampled_from([(1.0,), (1.0, 1.2), (1.0, 0.8, 1.2), (0.5,)]), tags=st.sets(st.integers(0, 2)),
)  # fmt: skip
def test_any_photo(height: int, width: int, mirror: bool, scales: tuple[float, ...], tags: set[int]) -> None:
    picture, chosen = photo(height, width), CamSettings(scales=scales, mirror=mirror)
    (made,) = photo_cams(Colour(), [picture], [tuple(sorted(tags))], settings=chosen)  # type: ignore[arg-type]
    assert list(made) == sorted(tags)
    for label, cam in made.items():
        assert cam.dtype == np.float32
        assert cam.shape == (height, width)
        assert 0 <= cam.min() <= cam.max() <= 1
        if min(height, width) > 16:  # less is a patch or two, whose flat CAM is stretched to rounding noise
            np.testing.assert_allclose(cam, expected(picture, label, scales, mirror), atol=1e-4)


def test_photos_of_a_batch_are_independent() -> None:
    pictures, tags = [photo(20, 30, seed) for seed in range(3)], [(0, 2), (), (1,)]
    common: dict[str, Any] = {"settings": CamSettings()}
    together = photo_cams(Colour(), pictures, tags, **common)  # type: ignore[arg-type]
    for index in range(3):
        (alone,) = photo_cams(Colour(), [pictures[index]], [tags[index]], **common)  # type: ignore[arg-type]
        assert alone.keys() == together[index].keys()
        for label in alone:
            np.testing.assert_allclose(alone[label], together[index][label], atol=1e-6)


def test_no_tag_costs_nothing() -> None:
    class Never(Colour):
        def cams(self, *_: Any, **__: Any) -> torch.Tensor:
            raise AssertionError("a photo without tags needs no network")

    assert photo_cams(Never(), [photo(9, 9)], [()], settings=CamSettings()) == [{}]  # type: ignore[arg-type]


def test_views_are_resized_on_whole_numbers() -> None:
    picture = photo(21, 33)
    ((view, scale),) = scaled_inputs(picture, (1.2,), mean=MEAN, std=STD)
    resized = np.asarray(
        Image.fromarray(picture).resize((round(33 * scale), round(21 * scale)), Image.Resampling.BICUBIC)
    )
    np.testing.assert_array_equal(np.rint(view.permute(1, 2, 0).numpy() * 255), resized)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 5)])
def test_the_real_generator_takes_any_photo(size: tuple[int, int]) -> None:
    (made,) = photo_cams(toy.generator().eval(), [photo(*size)], [(0, 1, 2)], settings=CamSettings())
    assert all(cam.shape == size and np.isfinite(cam).all() for cam in made.values())
