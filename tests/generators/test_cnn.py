"""The generator on a convolutional network: its own arithmetic, and what every generator promises."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semples.cams.make import photo_cams
from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import Generator, build_generator
from semples.generators.cnn import CnnGenerator
from semples.networks.pairs import Pairs
from semples.recipe import CamSettings
from semples.settings.generators import CnnSettings

CLASSES = 3


def build(settings: CnnSettings, *, num_classes: int, seed: int) -> CnnGenerator:
    made = build_generator(settings, classes=ClassList(("a", "b", "c")[:num_classes]), seed=seed)
    assert isinstance(made, CnnGenerator)
    return made


@pytest.fixture(params=["classifier", "all"])
def model(request: pytest.FixtureRequest) -> CnnGenerator:
    return build(CnnSettings(start="random", learns=request.param, trains=request.param), num_classes=CLASSES, seed=3)


def photos(count: int = 2, *size: int) -> torch.Tensor:
    return torch.randn(count, 3, *(size or (48, 64)), generator=torch.Generator().manual_seed(1))


def test_it_is_a_generator(model: CnnGenerator) -> None:
    assert isinstance(model, Generator)
    assert (model.patch_size, model.noise_size, model.num_classes) == (16, 0, CLASSES)


@pytest.mark.parametrize("stride", [16, 32])
@pytest.mark.parametrize("kernel", [1, 3])
@torch.no_grad()
def test_cams_are_the_positive_logits(stride: Any, kernel: Any) -> None:
    settings = CnnSettings(start="random", output_stride=stride, kernel=kernel)
    model = build(settings, num_classes=CLASSES, seed=0)
    for size in [(48, 64), (29, 17), (8, 100)]:
        tags = torch.tensor([[1, 0, 1], [0, 1, 0]]) > 0
        cams = model.cams(photos(2, *size), Pairs.of(tags))
        wanted = F.conv2d(
            model.network(photos(2, *size)), model.classifier.weight, model.classifier.bias, padding=kernel // 2
        )
        assert cams.shape == (3, *(math.ceil(side / stride) for side in size))
        torch.testing.assert_close(cams, wanted.clamp(min=0)[[0, 0, 1], [0, 2, 1]])


@torch.no_grad()
def test_losses_by_hand() -> None:
    tags = torch.tensor([[1, 0, 1], [0, 0, 0]]) > 0
    for pooling in ("mean", "smooth-max"):
        settings = CnnSettings(start="random", pooling=pooling, sharpness=2.0)  # type: ignore[arg-type]
        model = build(settings, num_classes=CLASSES, seed=0)
        model.classifier.weight.mul_(100)
        maps = model._maps(photos(), None, "all").flatten(2).double()
        logits = maps.mean(2) if pooling == "mean" else (2 * maps).exp().mean(2).log() / 2
        right = torch.where(tags, logits, -logits)
        wanted = -torch.sigmoid(right).log().mean(1)
        torch.testing.assert_close(model.classification_loss(photos(), tags).double(), wanted, atol=1e-5, rtol=1e-5)


def test_gradients_go_where_they_may(model: CnnGenerator) -> None:
    cams = model.train().cams(photos(), Pairs.of(torch.ones(2, CLASSES) > 0))
    (cams.sum() + 0 * cams.mean()).backward()
    trained = {id(parameter) for parameter in model.train_parameters()}
    reached = {id(p) for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached
    assert reached <= trained
    model.zero_grad()
    model.classification_loss(photos(), torch.eye(2, CLASSES) > 0).sum().backward()
    unreached = [p for p in model.warmup_parameters() if p.grad is None]
    assert not unreached
    others = {id(p) for p in model.parameters()} - {id(p) for p in model.warmup_parameters()}
    assert not any(p.grad is not None for p in model.parameters() if id(p) in others)
    assert bool(others) == (model.learns == "classifier")


def test_statistics_do_not_learn(model: CnnGenerator) -> None:
    """A step of training leaves the running statistics, and no photo depends on the others of its batch."""
    before = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    loss = model.train().classification_loss(photos(3), torch.eye(3) > 0)
    loss.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)
    alone = model.classification_loss(photos(3)[:1], torch.eye(3)[:1] > 0)
    torch.testing.assert_close(alone, loss[:1])


@torch.no_grad()
def test_from_its_config(model: CnnGenerator) -> None:
    again = CnnGenerator.from_config(json.loads(json.dumps(model.config_dict())), num_classes=CLASSES)
    again.load_state_dict(model.state_dict())
    pairs = Pairs.of(torch.ones(2, CLASSES) > 0)
    assert torch.equal(again.cams(photos(), pairs), model.cams(photos(), pairs))
    assert again.config_dict() == model.config_dict()
    assert (again.network.mean, again.network.std) == (model.mean, model.std)


def test_it_brings_its_own_normalisation(model: CnnGenerator) -> None:
    assert model.mean == model.network.mean
    settings = CnnSettings(start="random", mean=(0.1, 0.2, 0.3))
    with pytest.raises(UserError, match="brings its own"):
        build(settings, num_classes=2, seed=0)


def test_equal_seeds_build_equal_networks() -> None:
    one, two, other = (build(CnnSettings(start="random"), num_classes=2, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


@torch.no_grad()
def test_cams_of_photos_of_any_size() -> None:
    model = build(CnnSettings(start="random"), num_classes=2, seed=0)
    for height, width in [(37, 51), (16, 16), (5, 70)]:
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        (cams,) = photo_cams(model, [photo], [(1,)], settings=CamSettings(scales=(1.0, 1.5)))
        assert set(cams) == {1}
        assert cams[1].shape == (height, width)
        assert 0 <= cams[1].min() <= cams[1].max() <= 1
