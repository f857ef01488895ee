"""The judge that is learned from tags: its arithmetic by hand, and what it learns on features of a known make."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from semples.core.errors import UserError
from semples.generators.base import Pairs
from semples.judges.backgrounds import LearnedBackgrounds, nearest_patches
from semples.judges.tags import (
    KNOTS,
    Seen,
    TagJudge,
    TagJudgeSettings,
    filled,
    fold_of,
    from_config,
    gain_at,
    look,
    noisy_or,
    random_masks,
)
from semples.networks.cnn import build_cnn

E, K, PHOTOS = 1280, 3, 60
SETTINGS = TagJudgeSettings(start="random", folds=3, views=4, steps=150)


def judge() -> TagJudge:
    torch.manual_seed(0)
    return TagJudge(build_cnn("random", output_stride=32), num_classes=K, folds=3, image_size=64)


def made(tags_NK: torch.Tensor, *, views: int = 5) -> Seen:
    """Features where each class adds its own direction to the part that shows it, and ground adds one to both."""
    random = torch.Generator().manual_seed(1)
    directions = F.normalize(torch.randn(K + 1, E, generator=random), dim=1)
    photo = torch.arange(len(tags_NK)).repeat_interleave(views)
    area = torch.rand(len(photo), generator=random)
    area[::views] = 1
    there = (torch.rand(len(photo), K, generator=random) < area[:, None]) & tags_NK[photo]
    other = tags_NK[photo] & ~there
    parts = []
    for shown, share in ((there, area), (other, 1 - area)):
        signal = shown.float() @ directions[:K] + directions[K]
        noise = torch.randn(len(photo), E, generator=random) / math.sqrt(E)
        parts.append(share[:, None].sqrt() * signal + noise)
    return Seen(parts[0], parts[1], area, photo)


def tags() -> torch.Tensor:
    return torch.rand(PHOTOS, K, generator=torch.Generator().manual_seed(2)) < 0.4


def test_noisy_or_by_hand() -> None:
    view, rest = torch.randn(7, K), torch.randn(7, K)
    present = torch.rand(7, K) < 0.5
    p, q = torch.sigmoid(view.double()), torch.sigmoid(rest.double())
    wanted = torch.where(present, -torch.log(1 - (1 - p) * (1 - q)), -torch.log(1 - p) - torch.log(1 - q))
    torch.testing.assert_close(noisy_or(view, rest, present).double(), wanted, atol=1e-5, rtol=1e-5)
    # Explained by either: the other may say no as surely as it likes.
    sure = noisy_or(torch.full((1, 1), 9.0), torch.full((1, 1), -9.0), torch.ones(1, 1) > 0)
    assert float(sure) < 1e-3


def test_gains_between_knots() -> None:
    gains = torch.tensor([7.0, 1, 2, 3, 4, 6])  # the first does not count: an empty view says nothing
    areas = torch.tensor([*KNOTS, 0.025, 0.4, 0.75, -1, 2])
    wanted = [0, 1, 2, 3, 4, 6, 0.5, 3.5, 5, 0, 6]
    torch.testing.assert_close(gain_at(areas, gains), torch.tensor(wanted))


def test_it_learns_what_tags_say() -> None:
    model, tagged = judge(), tags()
    seen = made(tagged)
    figures = model.learn(seen, tagged, SETTINGS)
    assert figures["loss"] < 0.7 * figures["prior"]
    # The views of photos that a fold did not see: a class that is shown is told from one that is hidden or absent.
    fold = fold_of(seen.photo, 3)
    feature = F.normalize(seen.view - model.centre, dim=1)
    label = torch.zeros(len(seen.photo), dtype=torch.long)
    odds = model.log_odds(feature, label, seen.area, fold_P=fold)
    whole = seen.area == 1
    assert odds[whole & tagged[seen.photo, 0]].mean() > odds[whole & ~tagged[seen.photo, 0]].mean() + 1
    # An empty view falls back to the prior.
    empty = model.log_odds(feature, label, torch.zeros(len(label)), fold_P=fold)
    torch.testing.assert_close(empty, torch.logit(tagged[:, 0].float().mean()).expand(len(label)))


def test_no_photo_is_judged_by_vectors_that_saw_its_tags() -> None:
    tagged = tags()
    seen, model, other = made(tagged), judge(), judge()
    changed = tagged.clone()
    mine = fold_of(torch.arange(PHOTOS), 3) == 1
    changed[mine] = changed[mine].roll(1, dims=0)  # the same share of each class
    model.learn(seen, tagged, SETTINGS)
    other.learn(seen, changed, SETTINGS)
    assert torch.equal(model.vectors[1], other.vectors[1])
    assert not torch.equal(model.vectors[0], other.vectors[0])


def test_tags_that_teach_nothing_are_named() -> None:
    tagged = tags()
    tagged[:, 1] = True
    with pytest.raises(UserError, match="class number 2 is on every photo"):
        judge().learn(made(tagged), tagged, SETTINGS)
    tagged[:, 1] = False
    with pytest.raises(UserError, match="class number 2 is on no photo"):
        judge().learn(made(tagged), tagged, SETTINGS)


def test_masks() -> None:
    masks = random_masks(40, 32, seed=1, photo=2)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    shares = masks.mean(dim=(1, 2))
    assert 0.02 < float(shares.min()) < 0.25
    assert 0.75 < float(shares.max()) < 0.98
    assert torch.equal(masks, random_masks(40, 32, seed=1, photo=2))
    assert not torch.equal(masks, random_masks(40, 32, seed=1, photo=3))


def test_what_is_masked_is_filled_from_photos_without_the_class() -> None:
    images = torch.stack([torch.full((3, 4, 4), value) for value in (1.0, 2.0, 3.0)])
    tagged = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0]]) > 0
    pairs = Pairs.of(tagged)
    mask = torch.zeros(len(pairs), 4, 4)
    mask[:, :2] = 1
    view, rest = filled(images, mask, pairs, tagged)
    photos, others = (1, 1, 2, 3), (3, 2, 3, 2)  # photos of the pairs, and the next that lacks the class
    for place, (mine, other) in enumerate(zip(photos, others, strict=True)):
        assert (view[place, :, :2] == mine).all()
        assert (view[place, :, 2:] == other).all()
        assert (rest[place, :, :2] == other).all()
        assert (rest[place, :, 2:] == mine).all()
    for pair in (filled(images, mask, pairs, tagged, fill="mean"), filled(images, mask, pairs, torch.ones(3, K) > 0)):
        assert not pair[0][:, :, 2:].any()
        assert not pair[1][:, :, :2].any()


def test_it_looks_at_photos_and_lets_gradients_through() -> None:
    model = judge().train()
    photos = torch.randn(4, 3, 64, 64)
    seen = look(model, lambda number: photos[number], 4, SETTINGS, seed=0)
    assert seen.view.shape == seen.rest.shape == (20, E)
    assert seen.photo.tolist() == [number for number in range(4) for _ in range(5)]
    assert (seen.area[::5] == 1).all()
    tagged = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]]) > 0
    model.learn(seen, tagged, SETTINGS)
    image = photos[:2].clone().requires_grad_()
    odds = model.log_odds(model.encode_images(image), torch.tensor([0, 1]), torch.ones(2))
    (model.attract(odds) + model.repel(odds)).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    again = from_config(json.loads(json.dumps(model.config_dict())), num_classes=K)
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.log_odds(again.encode_images(photos[:2]), torch.tensor([0, 1]), torch.ones(2)), odds)
    p = torch.sigmoid(odds)
    torch.testing.assert_close(model.attract(odds), -p.log())
    torch.testing.assert_close(model.repel(odds), -(1 - p).log())


def test_backgrounds_are_learned_and_read_out() -> None:
    """Views of grass (class 0) or sky and sea (class 1): vectors find them, away from all classes."""
    random = torch.Generator().manual_seed(3)
    kinds = F.normalize(torch.randn(6, 64, generator=random), dim=1)
    things, grounds = kinds[:2], kinds[2:5]
    label = torch.arange(90) % 2
    ground = torch.where(label == 0, 0, 1 + (torch.arange(90) // 2) % 2)
    views = F.normalize(grounds[ground] + 0.6 * things[1 - label] + 0.05 * torch.randn(90, 64, generator=random), dim=1)
    model = LearnedBackgrounds(num_classes=2, count=2, width=64, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        attraction, separation = model.losses(views, label, things)
        (attraction.mean() + separation.mean()).backward()
        optimizer.step()
    vectors = F.normalize(model.vectors.detach(), dim=-1)
    assert (vectors @ things.t()).max() < 0.35  # though every view also holds another class's thing
    assert (vectors[0] @ grounds[0]).max() > 0.7
    assert (vectors[1] @ grounds[1]).max() > 0.6
    assert (vectors[1] @ grounds[2]).max() > 0.6
    photos = [torch.zeros(64, 2, 3) for _ in range(4)]
    photos[1][:, 1, 2], photos[3][:, 0, 1] = grounds[0], 0.3 * grounds[0] + 0.3 * kinds[5]
    (patches,) = nearest_patches(grounds[:1], photos, centre_E=torch.full((64,), 1e-4), count=2)
    assert [(patch.photo, patch.row, patch.column) for patch in patches] == [(1, 1, 2), (3, 0, 1)]
    assert patches[0].cosine > patches[1].cosine > 0.5
