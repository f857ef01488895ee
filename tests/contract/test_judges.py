"""What every judge must do. A new line in `JUDGES` is tested from here, by tiny weights in `WEIGHTS`."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from semples.core.errors import UserError
from semples.core.schema import to_dict
from semples.data.classes import ClassList
from semples.judges.base import Judge, TextJudge, build_judge
from semples.networks.efficientnet_lite import weights_file
from semples.recipe import JudgeSettings, PromptSettings, load_recipe, recipe_from_dict
from semples.settings.kinds import JUDGES
from tests import tiny
from tests.judges.siglip_model import save_siglip

WEIGHTS: dict[str, Callable[[Path], Path]] = {
    "clip": tiny.save_clip,
    "siglip": save_siglip,
    "tags": lambda folder: weights_file(),
}  # of those that need any
CLASSES = ClassList(("disc", "square", "cat", "person"), ("disc", "square", "cat", "player"))
PROMPTS = PromptSettings(length=4)
COSINES = torch.linspace(-1, 1, 201)


@pytest.fixture(scope="module", params=JUDGES.names())
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> JudgeSettings:
    """Settings of the judge, with weights where it needs them."""
    name, more = request.param, {}
    if name in WEIGHTS:
        more["model"] = str(WEIGHTS[name](tmp_path_factory.mktemp(name) / "weights"))
    made: JudgeSettings = JUDGES.settings_of(name)(kind=name, **more)
    return made


@pytest.fixture(scope="module")
def judge(settings: JudgeSettings) -> Judge:
    return build_judge(settings, classes=CLASSES)


def views(judge: Judge, count: int = 3, seed: int = 0) -> torch.Tensor:
    side = judge.image_size
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def at_cosines(judge: Judge) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and targets (n,E) whose cosines are `COSINES`."""
    size = judge.targets.shape[1]
    feature, target = torch.zeros(2, len(COSINES), size)
    feature[:, 0], feature[:, 1] = COSINES, (1 - COSINES.square()).clamp_min(0).sqrt()
    target[:, 0] = 1
    return feature, target


def test_what_it_says_of_itself(judge: Judge, settings: JudgeSettings) -> None:
    assert isinstance(judge, Judge)
    assert judge.classes == CLASSES.names
    assert judge.image_size > 0
    assert judge.scale > 0
    assert type(judge).Settings is type(settings)
    assert (judge.mean is None) == (judge.std is None)
    assert judge.std is None or min(judge.std) > 0
    assert JUDGES.about(settings.kind).endswith(".")


def test_settings_say_what_they_mean(settings: JudgeSettings) -> None:
    hints = typing.get_type_hints(type(settings))
    for entry in fields(settings):
        known = entry.metadata
        assert known["doc"], entry.name
        assert known["source"] or known["neutral"] or entry.name == "kind", f"{entry.name} has no source"
        if {int, float} & {hints[entry.name], *typing.get_args(hints[entry.name])}:
            assert known["low"] is not None, f"{entry.name} has no range"
    plain = JUDGES.settings_of(settings.kind)()
    assert plain.kind == settings.kind  # type: ignore[attr-defined]
    chosen = load_recipe("voc", [f"judge.kind={settings.kind}"]).judge
    assert chosen == plain
    assert recipe_from_dict({"judge": to_dict(chosen)}, where="test").judge == plain


def test_targets(judge: Judge) -> None:
    assert judge.targets.shape[0] == len(CLASSES)
    assert judge.targets.dtype == torch.float32
    assert not judge.targets.requires_grad
    torch.testing.assert_close(judge.targets.norm(dim=1), torch.ones(len(CLASSES)), atol=1e-5, rtol=0)
    assert (judge.targets @ judge.targets.T - torch.eye(len(CLASSES))).max() < 1 - 1e-6  # classes differ


def test_features_of_views(judge: Judge) -> None:
    given = views(judge)
    kept = given.clone()
    with torch.no_grad():
        features = judge.encode(given)
    assert torch.equal(given, kept)
    assert features.shape == (3, judge.targets.shape[1])
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(judge.encode(given[1:2]), features[1:2], atol=1e-5, rtol=0)  # each by itself
        blank = judge.encode(torch.zeros_like(given))
    torch.testing.assert_close(blank.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)


def test_gradients_reach_the_views_and_nothing_else(judge: Judge) -> None:
    given = views(judge).requires_grad_()
    judge.attract(judge.encode(given), judge.targets[[0, 1, 2]]).sum().backward()
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()
    assert (given.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert not any(parameter.requires_grad for parameter in judge.parameters())
    blank = torch.zeros_like(given).requires_grad_()  # a mask that keeps nothing
    judge.attract(judge.encode(blank), judge.targets[[0, 1, 2]]).sum().backward()
    assert blank.grad is not None
    assert torch.isfinite(blank.grad).all()


def test_it_stays_in_eval_mode(judge: Judge) -> None:
    around = torch.nn.ModuleList([judge]).train()
    assert around.training
    assert not any(module.training for module in judge.modules())


def test_losses_are_finite_and_pull_the_right_way(judge: Judge) -> None:
    feature, target = at_cosines(judge)
    usual = (COSINES > 0.02) & (COSINES < 0.95)
    for name, sign in (("attract", -1), ("repel", 1), ("separate", 1)):
        given = feature.clone().requires_grad_()
        loss = getattr(judge, name)(given, target)
        assert loss.shape == COSINES.shape
        (slope,) = torch.autograd.grad(loss.sum(), given)
        assert torch.isfinite(loss).all(), name
        assert torch.isfinite(slope).all(), name
        steps = sign * loss.detach().diff()
        assert (steps >= 0).all(), name
        assert (steps[usual[1:]] > 0).all(), name
    likeness = judge.likeness(feature, target)
    assert (likeness.diff() >= 0).all()
    torch.testing.assert_close(
        judge.attract(feature, target)[usual], -likeness[usual].log(), atol=1e-4, rtol=1e-4
    )  # losses are the likeness's logarithms
    torch.testing.assert_close(judge.repel(feature, target)[usual], -(1 - likeness[usual]).log(), atol=1e-4, rtol=1e-4)


def test_no_pairs_have_no_losses(judge: Judge) -> None:
    nothing = judge.targets[:0]
    assert judge.attract(nothing, nothing).shape == (0,)


def test_probabilities(judge: Judge) -> None:
    with torch.no_grad():
        shares = judge.probabilities(torch.cat([judge.encode(views(judge)), judge.targets]))
    assert shares.shape == (3 + len(CLASSES), len(CLASSES))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(len(shares)), atol=1e-5, rtol=0)
    assert (shares >= 0).all()
    assert shares[3:].argmax(dim=1).tolist() == list(range(len(CLASSES)))  # a class's own target is the class


def test_backgrounds_start_by_the_seed(judge: Judge) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, same, other = (judge.start_backgrounds(PROMPTS, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.shape[:2] == (len(CLASSES), PROMPTS.length)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len({tuple(row.flatten().tolist()) for row in one}) == len(CLASSES)  # every class starts elsewhere


def test_backgrounds_can_be_learned(judge: Judge) -> None:
    vectors = judge.start_backgrounds(PROMPTS, seed=0)[:2].requires_grad_()
    with torch.no_grad():
        wanted = judge.encode(views(judge, 2, seed=5))
    first = judge.encode_backgrounds(vectors, PROMPTS)
    assert first.shape == wanted.shape
    torch.testing.assert_close(first.norm(dim=1), torch.ones(2), atol=1e-5, rtol=0)
    optimizer = torch.optim.Adam([vectors], lr=0.05)
    losses = []
    for _ in range(15):
        loss = judge.attract(wanted, judge.encode_backgrounds(vectors, PROMPTS)).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert torch.isfinite(vectors.grad).all()  # type: ignore[arg-type]
        assert (vectors.grad.flatten(1).abs().sum(dim=1) > 0).all()  # type: ignore[union-attr]
        optimizer.step()
    assert losses[-1] < losses[0]


def test_lean_it_is_the_same_for_views(judge: Judge) -> None:
    lean = judge.lean()
    given = views(judge)
    with torch.no_grad():
        torch.testing.assert_close(lean.encode(given), judge.encode(given), atol=1e-6, rtol=0)  # up to rounding
    assert torch.equal(lean.targets, judge.targets)
    feature, target = at_cosines(judge)
    for name in ("likeness", "attract", "repel", "separate"):
        assert torch.equal(getattr(lean, name)(feature, target), getattr(judge, name)(feature, target))
    assert torch.equal(lean.probabilities(feature), judge.probabilities(feature))
    assert (lean.image_size, lean.mean, lean.std) == (judge.image_size, judge.mean, judge.std)
    assert not lean.training
    with torch.no_grad():  # and the whole one is still whole
        judge.encode_backgrounds(judge.start_backgrounds(PROMPTS, seed=0), PROMPTS)


def test_it_moves_as_a_whole(settings: JudgeSettings) -> None:
    """To another device; `meta` stands for one, since nothing may stay behind there."""
    made = build_judge(settings, classes=CLASSES)
    assert made.device == torch.device("cpu")
    moved: Any = made.to("meta")
    assert moved.device == moved.encode(views(moved).to("meta")).device == torch.device("meta")
    vectors = moved.start_backgrounds(PROMPTS, seed=0).to("meta")
    assert moved.encode_backgrounds(vectors, PROMPTS).device == torch.device("meta")
    lean: Any = build_judge(settings, classes=CLASSES).lean().to("meta")
    assert lean.encode(views(lean).to("meta")).device == lean.device == torch.device("meta")


def test_equal_settings_make_equal_judges(judge: Judge, settings: JudgeSettings) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = build_judge(settings, classes=CLASSES)
    assert torch.equal(before, torch.get_rng_state())
    given = views(judge)
    with torch.no_grad():
        assert torch.equal(again.encode(given), judge.encode(given))
    assert torch.equal(again.targets, judge.targets)


def test_words_where_it_knows_texts(judge: Judge) -> None:
    if not isinstance(judge, TextJudge):
        pytest.skip("a judge without texts")
    with torch.no_grad():
        words = judge.encode_words(CLASSES.prompts)
        plain = judge.encode_texts([judge.template.replace("{name}", word) for word in CLASSES.prompts])
    assert F.cosine_similarity(words, plain).min() > 0.99999
    torch.testing.assert_close(words, judge.targets, atol=1e-5, rtol=0)


def test_a_template_without_a_place_is_refused(settings: JudgeSettings) -> None:
    if "class_template" not in {entry.name for entry in fields(settings)}:
        pytest.skip("a judge without texts")
    with pytest.raises(UserError, match=r"judge\.class_template 'a photo' has no place for the class"):
        build_judge(replace(settings, class_template="a photo"), classes=CLASSES)  # type: ignore[call-arg]
