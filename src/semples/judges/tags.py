"""A judge without text: a frozen image network whose class vectors are learned from the tags.

For classes that no language model has words for. The network's last features, averaged over a view, minus their mean
over photos and scaled to length 1, are a view's feature x; a class has a vector w_k and an offset, and its log-odds in
a view are z_k = w_k · x + o_k. They are learned from views of the tagged photos behind random masks:

- a class that a photo does not carry is in no view of it: -log(1 - p_k) for the view and for the rest, masked or not;
- a class that it carries is in the view *or* in the rest, never demanded of both (noisy-or): -log(1 - (1 - p)(1 - p')).

What a mask hides is filled with the mean colour, or with other photos that lack the class (`filled`). Views that show
little say little: p = sigmoid(prior_k + g(a) · (z_k - prior_k)) with the share a of the photo that is visible and the
gain g, 0 for an empty view; g is fitted on photos that the vectors were not learned from. Photos are dealt to folds,
and the vectors of a fold are learned without its photos, so that a photo can be judged by vectors that never saw its
tags.

Its limit: a background that lies with its thing in every photo cannot be told from it by tags. Photos of the background
alone can.

Suffixes: V views, F folds, K classes, E channels, G knots of the gain, P (photo, class) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.schema import setting
from semples.networks.cnn import LITE, RGB, Cnn
from semples.networks.cnn import from_config as cnn_from_config
from semples.networks.pairs import Pairs

KNOTS = (0.0, 0.05, 0.15, 0.3, 0.5, 1.0)
"""Visible shares between which the gain is interpolated linearly; at the first it is 0."""
MASK_KEY, GRID = 4, 4
"""Random masks: their place among the keys of random numbers, and cells along a side of the noise they are cut from."""


@dataclass(frozen=True, kw_only=True)
class TagJudgeSettings:
    """A judge that is learned from the tags."""

    start: str = setting(LITE, "its frozen network, as `generator.start`; not the generator's own trained weights")
    image_size: int = setting(224, "side of a view", unit="pixels", low=8)
    folds: int = setting(5, "parts of the photos; each is judged by vectors learned on the others", low=2)
    views: int = setting(6, "random masks of a photo that vectors are learned from", low=1)
    decay: float = setting(1e-3, "weight of the squared length of the class vectors", low=0)
    steps: int = setting(300, "steps of their optimisation, over all views at once", low=1)


@dataclass(frozen=True)
class Seen:
    """Features of views of photos and of what each view leaves out.

    view, rest: (V,E), of length 1 or 0. area: (V,) in 0..1, visible share of `view`; the rest shows 1 - area. photo:
    int64 (V,), the number of the photo.
    """

    view: Tensor
    rest: Tensor
    area: Tensor
    photo: Tensor


class TagJudge(nn.Module):
    """Class vectors on a frozen network; always in eval mode. mean, std: what views are normalised with."""

    vectors: Tensor
    offsets: Tensor
    prior: Tensor
    centre: Tensor
    gains: Tensor

    def __init__(self, network: Cnn, *, num_classes: int, folds: int, image_size: int) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.folds, self.image_size = folds, image_size
        self.mean: RGB = network.mean
        self.std: RGB = network.std
        self.register_buffer("vectors", torch.zeros(folds, num_classes, network.channels))
        self.register_buffer("offsets", torch.zeros(folds, num_classes))
        self.register_buffer("prior", torch.zeros(num_classes))
        self.register_buffer("centre", torch.zeros(network.channels))
        self.register_buffer("gains", torch.ones(len(KNOTS)))

    def train(self, mode: bool = True) -> TagJudge:
        """Stays in eval mode whatever the mode of the module around it."""
        return super().train(False)

    def encode_images(self, image_B3SS: Tensor) -> Tensor:
        """Features (B,E) of normalised views, of length 1; differentiable in the views."""
        return F.normalize(self.network(image_B3SS).mean(dim=(2, 3)) - self.centre, dim=1)

    def log_odds(self, feature_PE: Tensor, label_P: Tensor, area_P: Tensor, *, fold_P: Tensor | None = None) -> Tensor:
        """Log-odds (P,) of a class in each view.

        area: visible share in 0..1. fold: of the view's photo (`fold_of`); None: the mean of all folds' vectors.
        """
        if fold_P is None:
            vector_PE, offset_P = self.vectors.mean(0)[label_P], self.offsets.mean(0)[label_P]
        else:
            vector_PE, offset_P = self.vectors[fold_P, label_P], self.offsets[fold_P, label_P]
        raw_P = (feature_PE * vector_PE).sum(dim=1) + offset_P
        prior_P = self.prior[label_P]
        return prior_P + gain_at(area_P, self.gains) * (raw_P - prior_P)

    def config_dict(self) -> dict[str, Any]:
        """Plain data with a key `kind`, from which `from_config` builds an equal judge."""
        return {"kind": "tags", "network": self.network.config_dict(), "folds": self.folds, "size": self.image_size}

    def attract(self, log_odds_P: Tensor) -> Tensor:
        """-log p: asks for the class."""
        return F.softplus(-log_odds_P)

    def repel(self, log_odds_P: Tensor) -> Tensor:
        """-log(1 - p): asks for its absence."""
        return F.softplus(log_odds_P)

    @property
    def class_vectors(self) -> Tensor:
        """Directions of the classes (K,E), of length 1: the mean of the folds."""
        return F.normalize(self.vectors.mean(0), dim=1)

    @torch.no_grad()
    def learn(self, seen: Seen, tags_NK: Tensor, settings: TagJudgeSettings) -> dict[str, float]:
        """Learn vectors, offsets and gains; returns the loss on photos that were left out, and of the prior alone.

        seen: of photos 0..N-1, with features as `raw_features` gives them, not yet centred. tags: bool (N,K). Raises
        UserError where a class is on no photo or on all of them.
        """
        check_tags(tags_NK)
        share_K = tags_NK.float().mean(0)
        self.prior.copy_(torch.logit(share_K))
        self.centre.copy_(torch.cat([seen.view, seen.rest]).mean(0))
        view, rest = (F.normalize(x - self.centre, dim=1) for x in (seen.view, seen.rest))
        centred = Seen(view, rest, seen.area, seen.photo)
        fold_V = fold_of(seen.photo, self.folds)
        for fold in range(self.folds):
            chosen = fold_V != fold
            part = Seen(view[chosen], rest[chosen], seen.area[chosen], seen.photo[chosen])
            vectors, offsets = fit_vectors(part, tags_NK, self.prior, settings)
            self.vectors[fold], self.offsets[fold] = vectors, offsets
        raw = [
            torch.einsum("ve,vke->vk", x, self.vectors[fold_V]) + self.offsets[fold_V] for x in (view, rest)
        ]  # of photos that the vectors did not see
        self.gains.copy_(fit_gains(raw, centred, tags_NK, self.prior))
        tags_VK = tags_NK[seen.photo]
        losses = [
            noisy_or(*gained(raw, seen.area, self.prior, gains), tags_VK).mean()
            for gains in (self.gains, torch.zeros_like(self.gains))
        ]
        return {"loss": float(losses[0]), "prior": float(losses[1])}


def from_config(config: dict[str, Any], *, num_classes: int) -> TagJudge:
    """The judge that `config_dict` described, which has learned nothing; its state dict holds all that it learns."""
    network = cnn_from_config(config["network"])
    return TagJudge(network, num_classes=num_classes, folds=config["folds"], image_size=config["size"])


def fold_of(photo_P: Tensor, folds: int) -> Tensor:
    """Which fold a photo belongs to, by its number."""
    return photo_P % folds


def gain_at(area_P: Tensor, gains_G: Tensor) -> Tensor:
    """The gain at a visible share, linear between `KNOTS`; 0 for an empty view."""
    knots = torch.tensor(KNOTS, device=area_P.device)
    area = area_P.clamp(0, 1)
    high = torch.searchsorted(knots, area.detach().contiguous()).clamp(1, len(KNOTS) - 1)
    low = high - 1
    along = (area - knots[low]) / (knots[high] - knots[low])
    values = torch.cat([gains_G.new_zeros(1), gains_G[1:]])
    return values[low] * (1 - along) + values[high] * along


def noisy_or(view_VK: Tensor, rest_VK: Tensor, tags_VK: Tensor) -> Tensor:
    """Loss (V,K) of log-odds in a view and in its rest: a tagged class is in either, another in neither."""
    neither = F.logsigmoid(-view_VK) + F.logsigmoid(-rest_VK)  # log (1 - p)(1 - p')
    either = torch.log(-torch.expm1(neither.clamp(max=-1e-6)))
    return torch.where(tags_VK, -either, -neither)


def gained(raw: Sequence[Tensor], area_V: Tensor, prior_K: Tensor, gains_G: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds (V,K) of views and rests with their gains."""
    shares = [gain_at(area, gains_G)[:, None] for area in (area_V, 1 - area_V)]
    view, rest = (prior_K + share * (values - prior_K) for values, share in zip(raw, shares, strict=True))
    return view, rest


@torch.enable_grad()
def fit_vectors(seen: Seen, tags_NK: Tensor, prior_K: Tensor, settings: TagJudgeSettings) -> tuple[Tensor, Tensor]:
    """Class vectors (K,E) and offsets (K,) of the least noisy-or loss, by Adam over all views at once."""
    vectors = torch.zeros(tags_NK.shape[1], seen.view.shape[1], requires_grad=True)
    offsets = prior_K.clone().requires_grad_()
    optimizer = torch.optim.Adam([vectors, offsets], lr=0.1)
    tags_VK = tags_NK[seen.photo]
    flat = torch.ones(len(KNOTS))
    for _ in range(settings.steps):
        optimizer.zero_grad()
        raw = [x @ vectors.t() + offsets for x in (seen.view, seen.rest)]
        loss = noisy_or(*gained(raw, seen.area, prior_K, flat), tags_VK).mean()
        (loss + settings.decay * vectors.square().sum(1).mean()).backward()
        optimizer.step()
    return vectors.detach(), offsets.detach()


@torch.enable_grad()
def fit_gains(raw: Sequence[Tensor], seen: Seen, tags_NK: Tensor, prior_K: Tensor, *, steps: int = 200) -> Tensor:
    """Gains (G,) >= 0 of the least loss on given log-odds, which came from vectors that did not see the photos."""
    free = torch.zeros(len(KNOTS), requires_grad=True)
    optimizer = torch.optim.Adam([free], lr=0.05)
    tags_VK = tags_NK[seen.photo]
    for _ in range(steps):
        optimizer.zero_grad()
        noisy_or(*gained(raw, seen.area, prior_K, free.exp()), tags_VK).mean().backward()
        optimizer.step()
    gains = free.detach().exp()
    gains[0] = 0
    return gains


def check_tags(tags_NK: Tensor) -> None:
    """Raise UserError where tags say nothing about a class."""
    for index, share in enumerate(tags_NK.float().mean(0).tolist()):
        if share in (0.0, 1.0):
            where = "every photo" if share else "no photo"
            raise UserError(
                f"class number {index + 1} is on {where}, so tags cannot teach what it looks like; add photos "
                f"{'without' if share else 'with'} it, or take a judge with text (judge.kind=clip)"
            )


# -------------------------------------------------------------------------------------------------------------- views


def random_masks(count: int, size: int, *, seed: int, photo: int) -> Tensor:
    """Masks (count,size,size) of 0 and 1 for learning: smooth noise cut at a random share; keyed by seed and photo."""
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, MASK_KEY, photo))))
    noise = torch.from_numpy(random.random((count, 1, GRID, GRID), dtype=np.float32))
    smooth = F.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)[:, 0]
    shares = torch.from_numpy(random.uniform(0.05, 0.95, count).astype(np.float32))
    cuts = torch.stack([row.flatten().quantile(1 - share) for row, share in zip(smooth, shares, strict=True)])
    return (smooth > cuts[:, None, None]).float()


def filled(
    image_B3SS: Tensor, mask_PSS: Tensor, pairs: Pairs, tags_BK: Tensor, *, fill: Literal["mean", "photos"] = "photos"
) -> tuple[Tensor, Tensor]:
    """Views M·X + (1 - M)·Y and rests (1 - M)·X + M·Y of pairs, each (P,3,S,S).

    Y is the next photo of the batch that lacks the pair's class, or the mean colour (0) where there is none or `fill`
    says so; so all that can speak for the class is what the mask shows of X.
    """
    photo_P3SS = image_B3SS[pairs.photo]
    other_P3SS = torch.zeros_like(photo_P3SS)
    if fill == "photos":
        for place, (photo, label) in enumerate(zip(pairs.photo.tolist(), pairs.label.tolist(), strict=True)):
            lacking = (~tags_BK[:, label]).nonzero()[:, 0].tolist()
            if lacking:
                other_P3SS[place] = image_B3SS[min(lacking, key=lambda index: (index - photo) % len(image_B3SS))]
    mask_P1SS = mask_PSS.unsqueeze(1)
    return photo_P3SS * mask_P1SS + other_P3SS * (1 - mask_P1SS), photo_P3SS * (1 - mask_P1SS) + other_P3SS * mask_P1SS


@torch.no_grad()
def look(
    judge: TagJudge, photo_at: Callable[[int], Tensor], count: int, settings: TagJudgeSettings, *, seed: int
) -> Seen:
    """Features of random views of photos 0..count-1, and of each whole photo beside an empty rest.

    photo_at: gives a normalised photo (3,S,S) of the judge's size. What is masked is the mean colour.
    """
    views, rests, areas = [], [], []
    for number in range(count):
        image_3SS = photo_at(number)
        mask_VSS = random_masks(settings.views, image_3SS.shape[-1], seed=seed, photo=number)
        mask_VSS = torch.cat([torch.ones_like(mask_VSS[:1]), mask_VSS])
        mask_V1SS = mask_VSS[:, None].to(image_3SS)
        both = torch.cat([image_3SS * mask_V1SS, image_3SS * (1 - mask_V1SS)])
        view, rest = raw_features(judge.network, both).chunk(2)
        views.append(view)
        rests.append(rest)
        areas.append(mask_VSS.mean(dim=(1, 2)))
    photo = torch.arange(count).repeat_interleave(settings.views + 1)
    return Seen(torch.cat(views), torch.cat(rests), torch.cat(areas), photo)


def raw_features(network: Cnn, image_B3SS: Tensor) -> Tensor:
    """Last features (B,E), averaged over space."""
    return network(image_B3SS).mean(dim=(2, 3))
