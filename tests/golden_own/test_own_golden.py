"""The arithmetic against the project's own golden numbers (scripts/make_own_golden.py: float64, independent)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from semples.cams.make import photo_cams
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.generators.weaktr import WeakTr
from semples.judges.clip import Clip
from semples.labels.threshold import winner_map
from semples.networks.clip import FrozenClip
from semples.networks.pairs import Pairs
from semples.networks.tokenizer import FULL_VOCABULARY
from semples.networks.vit import VitConfig
from semples.networks.weights import load_strictly
from semples.recipe import CamSettings, PromptSettings, load_recipe
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.warmup import Warmup
from semples.training.schedule import learning_rate
from semples.training.task import TaggedBatch, Total
from tests.golden_own import material as m

RECIPE = load_recipe("voc")
VALUE, GRADIENT = 3e-6, 1e-4  # absolute; relative to the tensor's norm (float32 against float64)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden.npz", allow_pickle=False) as stored:
        return dict(stored)


def generator(pooling: str = "max") -> WeakTr:
    config = VitConfig(patch_size=m.PATCH, width=m.C, depth=m.L, heads=m.H, image_size=m.PATCH * m.GRID)
    model = WeakTr(config, num_classes=m.K, drop_path=0.0, pooling=pooling, head_reduction=2, feature_reduction=2)
    load_strictly(model, {name: torch.from_numpy(value) for name, value in m.generator_weights().items()}, where="own")
    return model


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    state = {name: torch.from_numpy(value) for name, value in m.clip_weights().items()}
    table = torch.zeros(FULL_VOCABULARY, m.W)
    table[m.ROWS] = state["token_embedding.weight"]
    return FrozenClip.from_openai(state | {"token_embedding.weight": table})


def batch() -> TaggedBatch:
    tags, noise = torch.from_numpy(m.TAGS) > 0, torch.full((2, 2 * m.L), 0.5)
    return TaggedBatch(image=torch.from_numpy(m.batch()), tags=tags, noise=noise)


def task(stage: str, clip: FrozenClip) -> Stage:
    model = generator()
    if stage == "warmup":
        return Warmup(model)
    settings = getattr(RECIPE, stage)
    vectors = torch.from_numpy(m.prompts())
    with torch.no_grad():
        judge = Clip(clip, clip.encode_texts(list(m.TEXTS)), template="a photo of {name}.")
        backgrounds = judge.encode_backgrounds(vectors, PromptSettings())
    if stage == "prompting":
        prompting = Prompting(
            model, judge, prompts=PromptSettings(length=m.PROMPT), lambda_prompt=settings.lambda_prompt,
            cam_epsilon=settings.cam_epsilon,
        )  # fmt: skip
        prompting.prompts.vectors.data.copy_(vectors)
        return prompting
    common = {"lambda_background": settings.lambda_background, "cam_epsilon": settings.cam_epsilon}
    if stage == "matching":
        return Matching(model, judge, **common)
    return Refinement(model, judge, backgrounds, lambda_refinement=settings.lambda_refinement, **common)


def test_texts_are_the_tokens_that_were_used(clip: FrozenClip) -> None:
    for text, ids in m.TEXTS.items():
        assert clip.tokenizer.pieces(text) == ids
    assert (clip.tokenizer.start, clip.tokenizer.end, clip.tokenizer.token(".")) == (m.START, m.END, m.STOP_IN_WORD)


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("learning", [True, False])
def test_cams(golden: dict[str, np.ndarray], pooling: str, learning: bool) -> None:
    model = generator(pooling)
    images = batch().image
    wide = torch.cat([images[0], images[1]], dim=2)[None, :, :, :29]
    with torch.set_grad_enabled(learning):
        for name, image in (("square", images), ("wide", wide)):
            expected = golden[f"cams/{pooling}/{name}"].reshape(
                len(image), m.K, *golden[f"cams/{pooling}/{name}"].shape[-2:]
            )
            cams = model.cams(image, Pairs.of(torch.ones(len(image), m.K))).detach().numpy().reshape(expected.shape)
            np.testing.assert_allclose(cams, expected, rtol=0, atol=VALUE)


@torch.no_grad()
def test_clip_features(golden: dict[str, np.ndarray], clip: FrozenClip) -> None:
    for name, features in (
        ("images", clip.encode_images(batch().image)),
        ("texts", clip.encode_texts(list(m.TEXTS))),
        ("prompts", clip.encode_prompts(torch.from_numpy(m.prompts()))),
    ):
        np.testing.assert_allclose(features.numpy(), golden[f"features/{name}"], rtol=0, atol=VALUE)


@pytest.mark.parametrize("stage", ["warmup", "matching", "prompting", "refinement"])
def test_losses_and_gradients(golden: dict[str, np.ndarray], clip: FrozenClip, stage: str) -> None:
    module = task(stage, clip).train()
    module.requires_grad_(False)
    for parameter in module.trained():
        parameter.requires_grad_(True)
    loss = module(batch(), Total(photos=2, pairs=int(m.TAGS.sum())))["loss"]
    assert loss.item() == pytest.approx(float(np.mean(golden[f"loss/{stage}"])), abs=VALUE)
    loss.backward()
    gradients: dict[str, Tensor] = {
        name.removeprefix("generator.").removeprefix("prompts."): parameter.grad
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    expected = {
        key.removeprefix(f"grad/{stage}/"): value for key, value in golden.items() if key.startswith(f"grad/{stage}/")
    }
    zero = {name for name, value in expected.items() if np.abs(value).max() < 1e-9}
    assert set(expected) - zero <= set(gradients) <= set(expected)
    for name, gradient in gradients.items():
        difference = np.linalg.norm(gradient.numpy() - expected[name])
        assert difference <= GRADIENT * np.linalg.norm(expected[name]) + 1e-8, name


def test_multi_scale_cams(golden: dict[str, np.ndarray]) -> None:
    settings = CamSettings(scales=(1.0, 1.2))
    (cams,) = photo_cams(
        generator().eval(),
        [m.photo("photo", 19, 23)],
        [(0, 2)],
        settings=settings,
    )
    assert list(cams) == [0, 2]
    np.testing.assert_allclose(np.stack(list(cams.values())), golden["photo_cams"], rtol=0, atol=1e-5)


def test_curve(golden: dict[str, np.ndarray]) -> None:
    accumulator = CurveAccumulator(m.K, threshold_range(20, 80))
    for truth, cams in zip(*m.scored(), strict=True):
        accumulator.add(truth, *winner_map(cams, truth.shape))
    result = accumulator.result()
    for point, row in zip(result.points, golden["curve"], strict=True):
        assert point.threshold == pytest.approx(row[0] / 100)
        assert point.scores.miou == pytest.approx(row[1], abs=1e-4)
        np.testing.assert_allclose(point.scores.iou, row[2:], rtol=0, atol=1e-4)
    assert result.best.scores.miou == pytest.approx(golden["curve"][:, 1].max(), abs=1e-4)


def test_learning_rates(golden: dict[str, np.ndarray]) -> None:
    for key in [key for key in golden if key.startswith("schedule/")]:
        _, recipe, stage = key.split("/")
        settings = getattr(load_recipe(recipe), stage)
        rates = [learning_rate(settings, epoch, batch=settings.batch) for epoch in range(settings.epochs)]
        np.testing.assert_allclose(rates, golden[key], rtol=1e-12)
