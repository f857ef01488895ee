"""The four stages with a small generator and CLIP: what trains, which loss, any number of pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from semples.core.errors import UserError
from semples.judges.base import Judge
from semples.judges.clip import Clip
from semples.networks.clip import CLIP_MEAN, CLIP_STD, FrozenClip
from semples.networks.pairs import Pairs
from semples.recipe import PromptSettings, RefinementSettings
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.views import ViewMaker
from semples.stages.warmup import Warmup
from semples.training.task import TaggedBatch, Total
from tests import tiny
from tests.training import toy

CLASSES = 3
NAMES = ("warmup", "matching", "prompting", "refinement")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> FrozenClip:
    folder = tmp_path_factory.mktemp("clip")
    return FrozenClip.load(str(tiny.save_clip(folder / "clip", image_size=toy.SIDE, patch_size=8)))


def judge_of(clip: FrozenClip) -> Clip:
    with torch.no_grad():
        texts = clip.encode_texts([f"a photo of {word}." for word in ("dog", "red car", "tall tree")])
    return Clip(clip, texts, template="a photo of {name}.")


def task(name: str, clip: FrozenClip, **changes: float) -> Stage:
    generator = toy.generator(CLASSES)
    generator.head.weight.data *= 20  # CAMs that are not all but zero
    if name == "warmup":
        return Warmup(generator)
    judge = judge_of(clip)
    with torch.no_grad():
        start = judge.start_backgrounds(PromptSettings(length=4), seed=0)
        backgrounds = judge.encode_backgrounds(start, PromptSettings(length=4))
    if name == "prompting":
        return Prompting(generator, judge, prompts=PromptSettings(length=4), lambda_prompt=0.02, cam_epsilon="relative")
    common: dict[str, Any] = {
        "lambda_background": changes.get("lambda_background", 2.4),
        "cam_epsilon": "relative",
    }
    if name == "matching":
        return Matching(generator, judge, **common)
    return Refinement(generator, judge, backgrounds, lambda_refinement=changes.get("lambda_refinement", 0.05), **common)


def batch(tags: list[list[int]], size: int = toy.SIDE) -> tuple[TaggedBatch, Total]:
    random = torch.Generator().manual_seed(7)
    image = torch.randn(len(tags), 3, size, size, generator=random)
    noise = torch.rand(len(tags), 2 * toy.GENERATOR.depth, generator=random)
    return TaggedBatch(image=image, tags=torch.tensor(tags) > 0, noise=noise), Total(len(tags), sum(map(sum, tags)))


TAGS = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def backward(module: Stage, tags: list[list[int]]) -> dict[str, torch.Tensor]:
    module.requires_grad_(False)
    for parameter in module.trained():
        parameter.requires_grad_(True)
    terms = module(*batch(tags))
    (terms["loss"] + 0.0 * sum(p.sum() for p in module.parameters() if p.requires_grad)).backward()
    return terms


@pytest.mark.parametrize("name", NAMES)
def test_what_trains(name: str, clip: FrozenClip) -> None:
    module = task(name, clip).train()
    backward(module, TAGS)
    got = {
        key
        for key, parameter in module.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    if name == "warmup":
        assert {"generator.head.weight", "generator.blocks.0.attn.qkv.weight", "generator.cls_token"} <= got
    elif name == "prompting":
        assert got == {"prompts.vectors"}
    else:
        assert got
        assert all(key.startswith(("generator.head.", "generator.adaptive_attention_fusion.")) for key in got)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tags", [[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]], [[1, 1, 1]], TAGS])
def test_any_number_of_pairs_trains(name: str, tags: list[list[int]], clip: FrozenClip) -> None:
    module = task(name, clip).train()
    terms = backward(module, tags)
    assert all(torch.isfinite(value) for value in terms.values())
    for parameter in module.trained():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    if not any(map(any, tags)) and name != "warmup":
        assert terms["loss"] == 0
        assert all(parameter.grad.abs().sum() == 0 for parameter in module.trained())
    assert set(terms) == set(module(*batch(TAGS)))


@pytest.mark.parametrize("name", NAMES)
def test_shares_add_up(name: str, clip: FrozenClip) -> None:
    """Photos one by one, each a share of the whole step, sum to the batch's loss and gradient."""
    module = task(name, clip).train()
    whole = backward(module, TAGS)
    gradients = [parameter.grad.clone() for parameter in module.trained()]
    module.zero_grad()
    together, total = batch(TAGS)
    sums: dict[str, float] = {}
    for index in range(len(TAGS)):
        rows = slice(index, index + 1)
        part = TaggedBatch(image=together.image[rows], tags=together.tags[rows], noise=together.noise[rows])
        terms = module(part, total)
        if terms["loss"].requires_grad:
            terms["loss"].backward()
        for key, value in terms.items():
            sums[key] = sums.get(key, 0.0) + value.item()
    assert sums == pytest.approx({key: value.item() for key, value in whole.items()}, rel=1e-4, abs=1e-6)
    for parameter, gradient in zip(module.trained(), gradients, strict=True):
        summed = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        assert (summed - gradient).norm() <= 1e-2 * gradient.norm() + 1e-6  # normalising small CAMs enlarges rounding


def test_fixed_texts_in_the_learned_prompts_place(clip: FrozenClip) -> None:
    """Of several texts the mean of their terms; one text of each class is what a learned prompt is."""
    module = task("refinement", clip).eval()
    assert isinstance(module, Refinement)
    given, total = batch(TAGS)
    single = module(given, total)["refinement"]
    parts = FakeParts(module, judge_of(clip))
    of_words = Refinement.of_run(parts, RefinementSettings(backgrounds=("water", "dark rails"), cam_epsilon="relative"))
    with torch.no_grad():
        words_JE = clip.encode_texts(["a photo of water.", "a photo of dark rails."])
    assert of_words.background_features.shape == (CLASSES, 2, words_JE.shape[1])
    terms = []
    for word_E in words_JE:
        module.background_features = word_E.expand(CLASSES, -1).clone()
        terms.append(module(given, total)["refinement"])
    torch.testing.assert_close(of_words.eval()(given, total)["refinement"], sum(terms) / 2)
    module.background_features = module.background_features[:, None]
    torch.testing.assert_close(module(given, total)["refinement"], terms[-1])
    assert not torch.isclose(single, terms[-1])
    parts.judge_ = NoWords()
    with pytest.raises(UserError, match=r"reads no words; set judge\.kind=clip"):
        Refinement.of_run(parts, RefinementSettings(backgrounds=("water",)))


class NoWords:
    """A judge that is no `TextJudge`."""

    named_backgrounds = Judge.named_backgrounds


class FakeParts:
    """What of a run stage (c) asks for."""

    prompts = PromptSettings(length=4)

    def __init__(self, module: Refinement, judge: Any) -> None:
        self.generator, self.judge_ = module.generator, judge

    def generator_after(self, stage: str) -> Any:
        assert stage == "warmup"
        return self.generator

    def judge(self) -> Any:
        return self.judge_


def test_the_terms_by_hand(clip: FrozenClip) -> None:
    """L_a, L_b and L_c from features taken one pair at a time."""
    tags, total = TAGS, 3
    names = ["dog", "red car", "tall tree"]
    module = task("refinement", clip).eval()
    assert isinstance(module, Refinement)
    given, _ = batch(tags)
    kept, left, away = [], [], []
    prompting = task("prompting", clip).eval()
    assert isinstance(prompting, Prompting)
    learned, apart = [], []
    with torch.no_grad():
        for photo, label in ((0, 0), (0, 2), (2, 1)):
            cam = module.generator.cams(given.image[photo : photo + 1], Pairs(torch.tensor([0]), torch.tensor([label])))
            mask = torch.nn.functional.interpolate(
                cam[None], (toy.SIDE, toy.SIDE), mode="bilinear", align_corners=True
            )[0, 0]
            span = mask.max() - mask.min()
            mask = (mask - mask.min()) / (1.1 * span)
            text = clip.encode_texts([f"a photo of {names[label]}."])[0]
            background = clip.encode_prompts(prompting.prompts.vectors[label : label + 1])[0]
            front = clip.encode_images((mask * given.image[photo])[None])[0]
            back = clip.encode_images(((1 - mask) * given.image[photo])[None])[0]
            kept.append(-math.log(front @ text))
            left.append(-math.log(1 - back @ text))
            away.append(-math.log(1 - front @ background))
            learned.append(-math.log(back @ background))
            apart.append(math.log(background @ text))
    terms = module(given, Total(len(tags), total))
    expected = {"foreground": sum(kept) / 3, "background": sum(left) / 3, "refinement": sum(away) / 3}
    expected["loss"] = expected["foreground"] + 2.4 * expected["background"] + 0.05 * expected["refinement"]
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(expected, abs=2e-5)
    terms = prompting(given, Total(len(tags), total))
    expected = {"background": sum(learned) / 3, "separation": sum(apart) / 3}
    expected["loss"] = expected["background"] + 0.02 * expected["separation"]
    assert {key: value.item() for key, value in terms.items()} == pytest.approx(expected, abs=2e-5)
    matching = task("matching", clip).eval()(given, Total(len(tags), total))
    assert matching["loss"].item() == pytest.approx((sum(kept) + 2.4 * sum(left)) / 3, abs=2e-5)


def test_frozen_parts_are_in_eval_mode(clip: FrozenClip) -> None:
    """In prompting the generator has no randomness; in matching its stochastic depth stays active."""
    for name, random in (("prompting", False), ("matching", True)):
        module = task(name, clip).train()
        assert module.generator.training is random  # type: ignore[union-attr]
        assert not any(part.training for part in module.judge.modules())  # type: ignore[union-attr]
        given, total = batch(TAGS)
        calm = replace(given, noise=torch.full_like(given.noise, 0.99))
        wild = replace(given, noise=torch.zeros_like(given.noise))
        assert (module(calm, total)["loss"].item() != module(wild, total)["loss"].item()) is random


def test_prompts_of_absent_classes_get_no_gradient(clip: FrozenClip) -> None:
    module = task("prompting", clip).train()
    backward(module, [[1, 0, 0], [1, 0, 0]])
    gradient = module.prompts.vectors.grad  # type: ignore[union-attr]
    assert gradient[0].abs().sum() > 0  # type: ignore[index]
    assert gradient[1:].abs().sum() == 0  # type: ignore[index]


def test_views_in_clips_own_normalisation(clip: FrozenClip) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    colours = torch.rand(1, 3, 8, 8)
    shape = (3, 1, 1)
    photo = (colours - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    pairs, mask = Pairs.of(torch.tensor([[True]])), torch.ones(1, 8, 8)
    judge = judge_of(clip)
    normalised = Clip(clip, judge.targets, template=judge.template, own_normalisation=True)
    maker = replace(ViewMaker.of(normalised, epsilon=0.1, mean=mean, std=std), size=8)
    expected = (colours - torch.tensor(CLIP_MEAN).view(shape)) / torch.tensor(CLIP_STD).view(shape)
    torch.testing.assert_close(maker.views(photo, mask, pairs)[0], expected)
    parity = replace(ViewMaker.of(judge, epsilon=0.1, mean=mean, std=std), size=8)
    assert torch.equal(parity.views(photo, mask, pairs)[0], photo)
    assert torch.equal(parity.views(photo, mask, pairs)[1], torch.zeros(1, 3, 8, 8))
    assert replace(maker, size=4).views(photo, mask[:, :4, :4], pairs)[0].shape == (1, 3, 4, 4)


@pytest.mark.parametrize("size", [12, 20, 16])
def test_any_size_of_whole_patches(size: int, clip: FrozenClip) -> None:
    """Training views may be larger or smaller than CLIP's input and than the grid of the start weights."""
    for name in NAMES:
        given, total = batch(TAGS, size)
        terms = task(name, clip).train()(given, total)
        assert torch.isfinite(terms["loss"])


@pytest.mark.parametrize("name", ["matching", "prompting", "refinement"])
def test_each_stage_learns(name: str, clip: FrozenClip, tmp_path: Path) -> None:
    """Twenty steps on one batch lower the loss."""
    module = task(name, clip).train()
    module.requires_grad_(False)
    trained = list(module.trained())
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = module(*batch(TAGS))["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
