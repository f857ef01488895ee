"""A judge without text: a frozen image network whose class directions are learned from the tags.

For classes that no language model has words for. The network's last features, averaged over a view, minus their mean
over photos and scaled to length 1, are a view's feature x; a class has a direction w_k of length 1. The log-odds of the
class in a view that shows the share a of its photo are

    z = B + g(a) x.w_k

with an offset B and a gain g, which is 0 for an empty view: such a view falls back to the prior. Directions are learned
from views of the tagged photos behind random masks:

- a class that a photo does not carry is in no view of it: -log(1 - p_k) for the view and for the rest, masked or not;
- a class that it carries is in the view *or* in the rest, never demanded of both (noisy-or): -log(1 - (1 - p)(1 - p')).

Photos are dealt to folds, and the directions of a fold are learned without its photos, so that in training every photo
is judged by directions that never saw its tags. B and g are fitted on such photos, which makes the log-odds as unsure
as they have to be: log-odds as they are learned are so sure of every view that no gradient is left.

Its limit: a background that lies with its thing in every photo cannot be told from it by tags. Photos of the background
alone can.

Suffixes: V views, F folds, K classes, E channels, G knots of the gain, P (photo, class) pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semples.core.errors import UserError
from semples.core.progress import counter
from semples.data.classes import ClassList
from semples.data.dataset import TaggedDataset
from semples.data.photos import resize_photo
from semples.data.transforms import RGB, image_to_tensor
from semples.judges.base import Judge
from semples.judges.losses import cosine
from semples.networks.cnn import Cnn, build_cnn
from semples.networks.pairs import Pairs
from semples.settings.judges import PromptSettings, TagJudgeSettings

KNOTS = (0.0, 0.05, 0.15, 0.3, 0.5, 1.0)
"""Visible shares between which the gain is interpolated linearly; at the first it is 0."""
MASK_KEY, GRID = 4, 4
"""Random masks: their place among the keys of random numbers, and cells along a side of the noise they are cut from."""
UNTAUGHT_GAIN = 5.0


@dataclass(frozen=True)
class Seen:
    """Features of views of photos and of what each view leaves out.

    view, rest: (V,E). area: (V,) in 0..1, visible share of `view`; the rest shows 1 - area. photo: int64 (V,), the
    number of the photo.
    """

    view: Tensor
    rest: Tensor
    area: Tensor
    photo: Tensor


class TagJudge(Judge):
    """A frozen image network with a direction for each class, learned from the tags; needs no text.

    targets: the mean directions of all folds. Before it has learned (`learn_from`) directions are drawn at random.
    """

    Settings = TagJudgeSettings
    LEARNED = ("targets", "fold_targets", "centre", "gains", "offset")

    fold_targets: Tensor
    centre: Tensor
    gains: Tensor
    offset: Tensor

    def __init__(self, network: Cnn, settings: TagJudgeSettings, *, num_classes: int) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.settings = settings
        self.image_size = settings.image_size
        self.mean: RGB | None = network.mean
        self.std: RGB | None = network.std
        random = torch.Generator().manual_seed(0)
        target_KE = F.normalize(torch.randn(num_classes, network.channels, generator=random), dim=1)
        self.register_buffer("targets", target_KE)
        self.register_buffer("fold_targets", target_KE.expand(settings.folds, -1, -1).clone())
        self.register_buffer("centre", torch.zeros(network.channels))
        self.register_buffer("gains", torch.tensor([0.0] + [UNTAUGHT_GAIN] * (len(KNOTS) - 1)))
        self.register_buffer("offset", torch.zeros(()))

    @classmethod
    def build(cls, settings: TagJudgeSettings, *, classes: ClassList) -> Self:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build_cnn(settings.model, output_stride=32)
        return cls(network, settings, num_classes=len(classes))

    # ------------------------------------------------------------------------------------------------- what is asked

    def encode(self, view_n3SS: Tensor) -> Tensor:
        return F.normalize(raw_features(self.network, view_n3SS) - self.centre, dim=1)

    def encode_shown(self, view_n3SS: Tensor, area_n: Tensor) -> Tensor:
        """Features of length g(a) / g(1): views that show little say little."""
        gain_n = gain_at(area_n.detach(), self.gains)
        return self.encode(view_n3SS) * (gain_n / self.gains[-1])[:, None]

    def targets_of(self, pairs: Pairs) -> Tensor:
        """Directions (P,E) that were learned without the pair's photo; where its number is not known, the mean."""
        if pairs.number is None:
            return self.targets[pairs.label]
        return self.fold_targets[fold_of(pairs.number, self.settings.folds), pairs.label]

    def _log_odds(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        return self.offset + self.gains[-1] * cosine(feature_PE, target_PE)

    def likeness(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        """The probability (P,) that the class is in the view."""
        return self._log_odds(feature_PE, target_PE).sigmoid()

    def attract(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        return -F.logsigmoid(self._log_odds(feature_PE, target_PE))

    def repel(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        return -F.logsigmoid(-self._log_odds(feature_PE, target_PE))

    def separate(self, background_PE: Tensor, target_PE: Tensor) -> Tensor:
        """log likeness with the own class and, on average, with all: a learned background shows nobody's thing."""
        every_P = F.logsigmoid(self.offset + self.gains[-1] * background_PE @ self.targets.t()).mean(dim=1)
        return F.logsigmoid(self._log_odds(background_PE, target_PE)) + every_P

    def probabilities(self, feature_nE: Tensor) -> Tensor:
        return (self.gains[-1] * feature_nE @ self.targets.t()).softmax(dim=-1)

    def start_backgrounds(self, settings: PromptSettings, *, seed: int) -> Tensor:
        """M vectors a class in the feature space, at random."""
        shape = (*self.targets.shape[:1], settings.length, self.targets.shape[1])
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / self.targets.shape[1] ** 0.5

    def encode_backgrounds(self, vector_nMW: Tensor, settings: PromptSettings) -> Tensor:
        """The direction of the mean of the M vectors: free vectors, no text."""
        return F.normalize(vector_nMW.mean(dim=1), dim=1)

    # -------------------------------------------------------------------------------------------------------- learning

    def learn_from(self, dataset: TaggedDataset, *, seed: int) -> dict[str, float]:
        """Learn from the photos and their tags; returns the loss on photos that were left out, and of the prior alone.

        Raises UserError where a class is on no photo or on all of them, and for fewer photos than folds.
        """
        tags_NK = torch.zeros(len(dataset.items), len(dataset.classes), dtype=torch.bool)
        known_NK = torch.ones_like(tags_NK)
        for row, known, item in zip(tags_NK, known_NK, dataset.items, strict=True):
            row[list(item.tags)] = True
            known[list(item.open)] = False
        check_tags(tags_NK, dataset.classes.names, folds=self.settings.folds)

        def photo_at(number: int) -> Tensor:
            small = resize_photo(dataset.photo(dataset.items[number]), self.image_size, self.image_size)
            assert self.mean is not None
            assert self.std is not None
            return image_to_tensor(small, self.mean, self.std).to(self.device)

        seen = look(self, photo_at, len(dataset.items), seed=seed)
        return self.learn(seen, tags_NK.to(self.device), None if known_NK.all() else known_NK.to(self.device))

    @torch.no_grad()
    def learn(self, seen: Seen, tags_NK: Tensor, known_NK: Tensor | None = None) -> dict[str, float]:
        """`learn_from`, from features that are not yet centred of photos 0..N-1; tags: bool (N,K). known: bool (N,K),
        False where a tag is left open and teaches nothing; None: all are known."""
        self.centre.copy_(torch.cat([seen.view, seen.rest]).mean(0))
        view, rest = (F.normalize(x - self.centre, dim=1) for x in (seen.view, seen.rest))
        fold_V = fold_of(seen.photo, self.settings.folds)
        for fold in range(self.settings.folds):
            chosen = fold_V != fold
            part = Seen(view[chosen], rest[chosen], seen.area[chosen], seen.photo[chosen])
            self.fold_targets[fold] = fit_directions(part, tags_NK, self.settings, known_NK)
        self.targets.copy_(F.normalize(self.fold_targets.mean(0), dim=1))
        held_out = [torch.einsum("ve,vke->vk", x, self.fold_targets[fold_V]) for x in (view, rest)]
        tags_VK, known_VK = tags_NK[seen.photo], None if known_NK is None else known_NK[seen.photo]
        gains, offset = fit_gains(held_out, seen.area, tags_VK, known_VK)
        self.gains.copy_(gains)
        self.offset.copy_(offset)
        prior_VK = torch.logit(shares(tags_NK, known_NK)).expand(len(tags_VK), -1)
        alone = mean_loss(noisy_or(prior_VK, prior_VK - 1e3, tags_VK), known_VK)
        losses_VK = noisy_or(*shown_odds(held_out, seen.area, gains, offset), tags_VK)
        return {"loss": float(mean_loss(losses_VK, known_VK)), "prior": float(alone)}


def fold_of(photo_P: Tensor, folds: int) -> Tensor:
    """Which fold a photo belongs to, by its number."""
    return photo_P % folds


def gain_at(area_P: Tensor, gains_G: Tensor) -> Tensor:
    """The gain at a visible share, linear between `KNOTS`; 0 for an empty view."""
    knots = torch.tensor(KNOTS, device=area_P.device)
    area = area_P.clamp(0, 1)
    high = torch.searchsorted(knots, area.contiguous()).clamp(1, len(KNOTS) - 1)
    low = high - 1
    along = (area - knots[low]) / (knots[high] - knots[low])
    values = torch.cat([gains_G.new_zeros(1), gains_G[1:]])
    return values[low] * (1 - along) + values[high] * along


def noisy_or(view_VK: Tensor, rest_VK: Tensor, tags_VK: Tensor) -> Tensor:
    """Loss (V,K) of log-odds in a view and in its rest: a tagged class is in either, another in neither."""
    neither = F.logsigmoid(-view_VK) + F.logsigmoid(-rest_VK)  # log (1 - p)(1 - p')
    either = torch.log(-torch.expm1(neither.clamp(max=-1e-6)))
    return torch.where(tags_VK, -either, -neither)


def mean_loss(losses_VK: Tensor, known_VK: Tensor | None) -> Tensor:
    """The mean over all tags that are known."""
    return losses_VK.mean() if known_VK is None else losses_VK[known_VK].mean()


def shares(tags_NK: Tensor, known_NK: Tensor | None) -> Tensor:
    """The share (K,) of the photos that carry a class, of those of which that is known."""
    if known_NK is None:
        return tags_NK.float().mean(0)
    return (tags_NK & known_NK).sum(0) / known_NK.sum(0).clamp_min(1)


def shown_odds(cosines: Sequence[Tensor], area_V: Tensor, gains_G: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds (V,K) of views and rests from their cosines with the classes."""
    gains = [gain_at(area, gains_G)[:, None] for area in (area_V, 1 - area_V)]
    view, rest = (offset + gain * values for values, gain in zip(cosines, gains, strict=True))
    return view, rest


@torch.enable_grad()
def fit_directions(seen: Seen, tags_NK: Tensor, settings: TagJudgeSettings, known_NK: Tensor | None = None) -> Tensor:
    """Class directions (K,E) of the least noisy-or loss, by Adam over all views at once; each class has an offset and a
    length of its own meanwhile."""
    vectors = torch.zeros(tags_NK.shape[1], seen.view.shape[1], device=seen.view.device, requires_grad=True)
    offsets = torch.logit(shares(tags_NK, known_NK)).clone().requires_grad_()
    optimizer = torch.optim.Adam([vectors, offsets], lr=0.1)
    tags_VK, known_VK = tags_NK[seen.photo], None if known_NK is None else known_NK[seen.photo]
    for _ in range(settings.steps):
        optimizer.zero_grad()
        view, rest = (x @ vectors.t() + offsets for x in (seen.view, seen.rest))
        loss = mean_loss(noisy_or(view, rest, tags_VK), known_VK)
        (loss + settings.decay * vectors.square().sum(1).mean()).backward()
        optimizer.step()
    return F.normalize(vectors.detach(), dim=1)


@torch.enable_grad()
def fit_gains(
    cosines: Sequence[Tensor], area_V: Tensor, tags_VK: Tensor, known_VK: Tensor | None = None, *, steps: int = 300
) -> tuple[Tensor, Tensor]:
    """Gains (G,) >= 0 and the offset of the least loss on cosines of photos that the directions did not see."""
    free = torch.full((len(KNOTS),), 2.0, device=area_V.device, requires_grad=True)
    offset = torch.logit(mean_loss(tags_VK.float(), known_VK)).clone().requires_grad_()
    optimizer = torch.optim.Adam([free, offset], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        mean_loss(noisy_or(*shown_odds(cosines, area_V, free.exp(), offset), tags_VK), known_VK).backward()
        optimizer.step()
    gains = free.detach().exp()
    gains[0] = 0
    return gains, offset.detach()


def check_tags(tags_NK: Tensor, names: Sequence[str], *, folds: int) -> None:
    """Raise UserError where tags say nothing about a class."""
    if len(tags_NK) < folds:
        raise UserError(f"the judge learns from {folds} parts of the photos, but there are {len(tags_NK)} photos")
    for name, share in zip(names, tags_NK.float().mean(0).tolist(), strict=True):
        if share in (0.0, 1.0):
            where = "every photo" if share else "no photo"
            raise UserError(
                f"class {name} is on {where}, so tags cannot teach what it looks like; add photos "
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


@torch.no_grad()
def look(judge: TagJudge, photo_at: Callable[[int], Tensor], count: int, *, seed: int) -> Seen:
    """Features of random views of photos 0..count-1, and of each whole photo beside an empty rest.

    photo_at: gives a normalised photo (3,S,S) of the judge's size. What is masked is the mean colour.
    """
    views, rests, areas = [], [], []
    with counter(label="judge", total=count) as advance:
        for number in range(count):
            image_3SS = photo_at(number)
            mask_VSS = random_masks(judge.settings.views, image_3SS.shape[-1], seed=seed, photo=number)
            mask_V1SS = torch.cat([torch.ones_like(mask_VSS[:1]), mask_VSS])[:, None].to(image_3SS)
            both = torch.cat([image_3SS * mask_V1SS, image_3SS * (1 - mask_V1SS)])
            view, rest = raw_features(judge.network, both).chunk(2)
            views.append(view)
            rests.append(rest)
            areas.append(mask_V1SS.mean(dim=(1, 2, 3)))
            advance("")
    photo = torch.arange(count, device=judge.device).repeat_interleave(judge.settings.views + 1)
    return Seen(torch.cat(views), torch.cat(rests), torch.cat(areas), photo)


def raw_features(network: Cnn, image_B3HW: Tensor) -> Tensor:
    """Last features (B,E), averaged over space."""
    features: Tensor = network(image_B3HW)
    return features.mean(dim=(2, 3))


def describe(judge: TagJudge) -> dict[str, Any]:
    """What was learned, as plain data: the gain of a whole photo, of a tenth of one, and the offset."""
    tenth = gain_at(torch.tensor([0.1], device=judge.device), judge.gains)
    return {"gain": float(judge.gains[-1]), "gain_of_a_tenth": float(tenth), "offset": float(judge.offset)}
