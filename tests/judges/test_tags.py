"""The judge that is learned from tags: its arithmetic by hand, and what it learns on features of a known make."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.data.dataset import open_dataset
from semples.judges.backgrounds import nearest_patches
from semples.judges.base import build_judge, load_learned, save_learned
from semples.judges.tags import (
    KNOTS,
    Seen,
    TagJudge,
    check_tags,
    fold_of,
    gain_at,
    noisy_or,
    random_masks,
)
from semples.networks.pairs import Pairs
from semples.settings.judges import TagJudgeSettings

E, K, PHOTOS = 1280, 3, 60
NAMES = ("one", "two", "three")
SETTINGS = TagJudgeSettings(model="random", folds=3, views=4, steps=150, image_size=64)


def judge() -> TagJudge:
    made = build_judge(SETTINGS, classes=ClassList(NAMES))
    assert isinstance(made, TagJudge)
    return made


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
    figures = model.learn(seen, tagged)
    assert figures["loss"] < 0.7 * figures["prior"]
    # The views of photos that a fold did not see: a class that is shown is told from one that is hidden or absent.
    feature = F.normalize(seen.view - model.centre, dim=1)
    pairs = Pairs(torch.arange(len(seen.photo)), torch.zeros(len(seen.photo), dtype=torch.long), seen.photo)
    odds = torch.logit(model.likeness(feature, model.targets_of(pairs)))
    whole = seen.area == 1
    assert odds[whole & tagged[seen.photo, 0]].mean() > odds[whole & ~tagged[seen.photo, 0]].mean() + 1
    # An empty view falls back to the prior, and one that shows little comes near it.
    for label in range(K):
        nothing = model.likeness(torch.zeros(1, E), model.targets[label][None])
        torch.testing.assert_close(torch.logit(nothing), model.offset.expand(1))
    assert model.gains[0] == 0
    assert (model.gains[1:] > 0).all()


def test_views_that_show_little_say_little() -> None:
    model = judge()
    model.gains.copy_(torch.tensor([0.0, 1, 2, 3, 4, 8]))
    views = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = model.encode(views)
    shown = model.encode_shown(views, torch.tensor([1.0, 0.15, 0.0]))
    torch.testing.assert_close(shown, plain * torch.tensor([1.0, 0.25, 0.0])[:, None])


def test_no_photo_is_judged_by_directions_that_saw_its_tags() -> None:
    tagged = tags()
    seen, model, other = made(tagged), judge(), judge()
    changed = tagged.clone()
    mine = fold_of(torch.arange(PHOTOS), 3) == 1
    changed[mine] = changed[mine].roll(1, dims=0)  # the same share of each class
    model.learn(seen, tagged)
    other.learn(seen, changed)
    number = torch.arange(PHOTOS)[mine]
    pairs = Pairs(torch.zeros_like(number), torch.ones_like(number), number)
    assert torch.equal(model.targets_of(pairs), other.targets_of(pairs))
    rest = Pairs(torch.zeros_like(number), torch.ones_like(number), number + 1)
    assert not torch.equal(model.targets_of(rest), other.targets_of(rest))
    assert torch.equal(model.targets_of(Pairs(pairs.photo, pairs.label)), model.targets[pairs.label])


def test_tags_that_teach_nothing_are_named() -> None:
    tagged = tags()
    tagged[:, 1] = True
    with pytest.raises(UserError, match="class two is on every photo"):
        check_tags(tagged, NAMES, folds=3)
    tagged[:, 1] = False
    with pytest.raises(UserError, match="class two is on no photo"):
        check_tags(tagged, NAMES, folds=3)
    with pytest.raises(UserError, match="3 parts of the photos, but there are 2"):
        check_tags(tagged[:2], NAMES, folds=3)


def test_masks() -> None:
    masks = random_masks(40, 32, seed=1, photo=2)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    shares = masks.mean(dim=(1, 2))
    assert 0.02 < float(shares.min()) < 0.25
    assert 0.75 < float(shares.max()) < 0.98
    assert torch.equal(masks, random_masks(40, 32, seed=1, photo=2))
    assert not torch.equal(masks, random_masks(40, 32, seed=1, photo=3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos of red (one), blue (two) and yellow (three) squares on noise."""
    colours = ((200, 40, 40), (40, 40, 220), (220, 220, 40))
    rows = ["image,tags"]
    for seed in range(9):
        photo = np.random.default_rng(seed).integers(60, 160, (64, 64, 3), dtype=np.uint8)
        shown = (seed % 3, (seed // 3 + seed) % 3)
        for place, index in enumerate(sorted(set(shown))):
            photo[8:40, 2 + 30 * place : 28 + 30 * place] = colours[index]
        Image.fromarray(photo).save(tmp_path / f"{seed}.png")
        rows.append(f"{seed}.png,{';'.join(NAMES[index] for index in sorted(set(shown)))}")
    (tmp_path / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return tmp_path


def test_what_it_learned_from_photos_is_kept(folder: Path, tmp_path: Path) -> None:
    data, model = open_dataset(folder), judge()
    figures = model.learn_from(data, seed=0)
    assert all(math.isfinite(value) for value in figures.values())
    again = judge()
    again.learn_from(data, seed=0)
    assert all(torch.equal(model.get_buffer(name), again.get_buffer(name)) for name in model.LEARNED)
    save_learned(model, tmp_path / "judge.safetensors")
    other = judge()
    load_learned(other, tmp_path / "judge.safetensors")
    assert all(torch.equal(model.get_buffer(name), other.get_buffer(name)) for name in model.LEARNED)
    with pytest.raises(UserError, match="other classes or by other settings"):
        load_learned(build_judge(SETTINGS, classes=ClassList(("a", "b", "c"))), tmp_path / "judge.safetensors")
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    for name, words in (("text", "not what a judge"), ("none", "no such file")):
        with pytest.raises(UserError, match=words):
            load_learned(other, tmp_path / name)


def test_backgrounds_keep_away_from_all_classes() -> None:
    """Like another class's thing is as bad as like the same_class, but for the same_class's greater weight."""
    model = judge()
    with torch.no_grad():
        model.targets.copy_(torch.eye(E)[:K])
        same_class, other, free = (
            model.separate(vector[None], model.targets[:1]).item() for vector in (*model.targets[:2], torch.eye(E)[K])
        )
    assert same_class > other > free


def test_patches_that_look_like_a_vector() -> None:
    random = torch.Generator().manual_seed(3)
    ground, thing = F.normalize(torch.randn(2, 64, generator=random), dim=1)
    photos = [torch.zeros(64, 2, 3) for _ in range(4)]
    photos[1][:, 1, 2], photos[3][:, 0, 1] = ground, 0.3 * ground + 0.3 * thing
    (patches,) = nearest_patches(ground[None], photos, centre_E=torch.full((64,), 1e-4), count=2)
    assert [(patch.photo, patch.row, patch.column) for patch in patches] == [(1, 1, 2), (3, 0, 1)]
    assert patches[0].cosine > patches[1].cosine > 0.5
