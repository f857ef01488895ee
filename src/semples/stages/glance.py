"""A glance at a generator's masks, without pixel labels: what they light, how steady they are, what the judge makes of
what they keep and leave.

Shape suffixes: B photos, K classes, P (photo, present class) pairs, S side of the judge's views, E numbers of a
feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semples.data.transforms import image_to_tensor, resize_photo
from semples.evaluation.masks import LIT, lit_figures
from semples.evaluation.tagging import chance, lift, mean_precision
from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.stages.views import ViewMaker, cam_masks

LARGER = 1.25  # the second size that masks are looked at
BATCH = 8
OUTLINES = (0.3, 0.5)  # values of a stretched CAM whose outlines are compared with the photo
FLAT = 0.05  # span of a CAM below which its shape is mere rounding

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Glance:
    """What was seen of some photos: every array is float64.

    tag_score_BK: mean CAM of every class in every photo, before any stretching. Per pair: `lit_P`, share of the photo
    that is lit; `span_P`, (largest - smallest) / largest value of the CAM, 0 for a flat or dead one; `steady_P`,
    overlap 0..1 of the mask with those of the mirrored and of the larger photo; `edges_P`, how much steeper the photo
    is on the mask's outlines than elsewhere; `kept_P`, `left_P`, the judge's probability of the class in what the mask
    keeps and leaves; left_PE, its features of that. photo_P, label_P: the pairs. Without a judge, NaN for what it says.
    """

    tag_score_BK: Floats
    photo_P: NDArray[np.int64]
    label_P: NDArray[np.int64]
    lit_P: Floats
    span_P: Floats
    steady_P: Floats
    edges_P: Floats
    kept_P: Floats
    left_P: Floats
    left_PE: Floats


def photo_tensor(photos: Sequence[NDArray[np.uint8]], generator: Generator, *, side: int) -> Tensor:
    """Photos, uint8 (H,W,3), squeezed into squares (B,3,side,side) as the generator normalises them."""
    views = [image_to_tensor(resize_photo(photo, side, side), generator.mean, generator.std) for photo in photos]
    return torch.stack(views)


@torch.no_grad()
def glance(generator: Generator, judge: Judge | None, image_B3SS: Tensor, tags_BK: Tensor) -> Glance:
    """Look at photos with tags (bool). The generator is put in eval mode; both are on the images' device."""
    generator.eval()
    seer = None if judge is None else Seer(judge, generator)
    starts = range(0, len(image_B3SS), BATCH)
    parts = [
        _part(generator, seer, image_B3SS[start : start + BATCH], tags_BK[start : start + BATCH], first=start)
        for start in starts
    ]
    return Glance(**{name: np.concatenate([part[name].cpu().numpy() for part in parts]) for name in parts[0]})


class Seer:
    """What a judge makes of masks: `size` of the masks it is shown."""

    def __init__(self, judge: Judge, generator: Generator) -> None:
        self._judge = judge
        self._maker = ViewMaker.of(judge, epsilon="relative", mean=generator.mean, std=generator.std)
        self.size = self._maker.size

    def __call__(self, image_B3SS: Tensor, mask_PSS: Tensor, pairs: Pairs) -> dict[str, Tensor]:
        """`kept_P`, `left_P` and `left_PE` of a `Glance`."""
        kept_PE, left_PE = (self._judge.encode(view) for view in self._maker.views(image_B3SS, mask_PSS, pairs))
        rows = torch.arange(len(pairs), device=image_B3SS.device)
        kept_P, left_P = (self._judge.probabilities(seen)[rows, pairs.label] for seen in (kept_PE, left_PE))
        return {"kept_P": kept_P, "left_P": left_P, "left_PE": left_PE}


def _unseen(pairs: Pairs) -> dict[str, Tensor]:
    """The same where nobody judges."""
    nothing_P = torch.full((len(pairs),), torch.nan)
    return {"kept_P": nothing_P, "left_P": nothing_P, "left_PE": nothing_P[:, None]}


def _part(
    generator: Generator, seer: Seer | None, image_B3SS: Tensor, tags_BK: Tensor, *, first: int
) -> dict[str, Tensor]:
    """The fields of a `Glance` of some photos, of which the first is number `first` of all."""
    side = image_B3SS.shape[-1]
    size = side if seer is None else seer.size
    cam_BKhw = generator.cams(image_B3SS, Pairs.of(torch.ones_like(tags_BK))).float().unflatten(0, tags_BK.shape)
    pairs = Pairs.of(tags_BK)
    cam_Phw = cam_BKhw[pairs.photo, pairs.label]
    mask_PSS = stretched(cam_Phw, size)
    mirrored = stretched(generator.cams(image_B3SS.flip(-1), pairs).float(), size).flip(-1)
    larger = F.interpolate(image_B3SS, size=(round(side * LARGER),) * 2, mode="bilinear", antialias=True)
    grown = stretched(generator.cams(larger, pairs).float(), size)
    photo_B3SS = F.interpolate(image_B3SS, size=(size, size), mode="bilinear", antialias=True)
    largest, smallest = cam_Phw.amax(dim=(1, 2)), cam_Phw.amin(dim=(1, 2))
    values_of = {
        "tag_score_BK": cam_BKhw.mean(dim=(2, 3)),
        "lit_P": (mask_PSS > LIT).cpu().double().mean(dim=(1, 2)),
        "span_P": (largest - smallest) / largest.clamp_min(torch.finfo(largest.dtype).tiny),
        "steady_P": 0.5 * (overlap(mask_PSS, mirrored) + overlap(mask_PSS, grown)),
        "edges_P": steepness(mask_PSS, slopes(photo_B3SS)[pairs.photo]),
        **(_unseen(pairs) if seer is None else seer(image_B3SS, mask_PSS, pairs)),
    }
    return {"photo_P": pairs.photo + first, "label_P": pairs.label} | {
        name: values.cpu().double()
        for name, values in values_of.items()  # Apple's GPU knows no float64
    }


def stretched(cam_Phw: Tensor, size: int) -> Tensor:
    """CAMs (P,h,w) as (P,size,size) in 0..1: resized bilinearly, the smallest value of each 0 and the largest 1; a flat
    one 0."""
    return cam_masks(cam_Phw, size=size, epsilon=0.0).nan_to_num(0.0)


def overlap(first_PSS: Tensor, second_PSS: Tensor) -> Tensor:
    """Overlap (P,) of soft masks in 0..1: sum of the smaller over sum of the larger values; 0 where both are empty."""
    larger = torch.maximum(first_PSS, second_PSS).sum(dim=(1, 2))
    return torch.minimum(first_PSS, second_PSS).sum(dim=(1, 2)) / larger.clamp_min(1e-12)


def slopes(map_nCSS: Tensor) -> Tensor:
    """Steepness (n,S,S) of maps (n,C,S,S): length of the gradient of all channels together, by central differences."""
    down_nCSS, right_nCSS = torch.gradient(map_nCSS, dim=(2, 3))
    return (down_nCSS.square() + right_nCSS.square()).sum(dim=1).sqrt()


def steepness(mask_PSS: Tensor, slope_PSS: Tensor) -> Tensor:
    """How steep photos are on the outlines of masks (P,S,S), beside their mean slope: (P,), 1 for an outline drawn
    anywhere, more for one that follows edges; the mean over `OUTLINES`, 0 where a mask has none."""
    mean_P = slope_PSS.mean(dim=(1, 2)).clamp_min(1e-12)
    told = torch.zeros_like(mean_P)
    for value in OUTLINES:
        lit_PSS = (mask_PSS > value).to(slope_PSS.dtype)
        inner_PSS = -F.max_pool2d(-lit_PSS[:, None], 3, stride=1, padding=1)[:, 0]
        outline_PSS = lit_PSS - inner_PSS
        told += (outline_PSS * slope_PSS).sum(dim=(1, 2)) / outline_PSS.sum(dim=(1, 2)).clamp_min(1) / mean_P
    return told / len(OUTLINES)


def figures(seen: Glance, tags_BK: NDArray[np.bool_]) -> dict[str, float]:
    """The figures that verdicts rest on. Shares and probabilities are 0..1; NaN where there is nothing to say."""
    if not len(seen.label_P):
        return {}
    precision, share = mean_precision(seen.tag_score_BK, tags_BK)
    chance_mean, chance_spread = chance(seen.tag_score_BK, tags_BK)
    return {
        "photos": len(tags_BK),
        "pairs": len(seen.label_P),
        "precision": precision,
        "precision_by_chance": share,
        "tags": lift(seen.tag_score_BK, tags_BK),
        "tags_by_chance": chance_mean,
        "tags_by_chance_spread": chance_spread,
        **lit_figures(seen.lit_P),
        "flat": float((seen.span_P < FLAT).mean()),
        "steady": float(seen.steady_P.mean()),
        "edges": float(seen.edges_P.mean()),
        "kept": float(seen.kept_P.mean()),
        "left": float(seen.left_P.mean()),
    }


def background_figures(seen: Glance, *, learned_KE: Tensor, start_KE: Tensor, target_KE: Tensor) -> dict[str, float]:
    """Learned backgrounds against what masks leave: cosines of L2-normalised features (K,E).

    with_left, with_left_at_start: of what a pair's mask leaves with its class's background, as learned and before;
    with_left_of_others: with those of other classes; target: of a class's background with the class itself; named:
    share of pairs whose class's background is the nearest of all; named_by_chance: what one background for all would
    reach; alike: of the backgrounds with one another, alike_targets: of the classes' targets.
    """
    learned, start, target = (x.detach().cpu().double().numpy() for x in (learned_KE, start_KE, target_KE))
    classes, label_P = len(learned), seen.label_P
    if not len(label_P):
        return {}
    cosine_PK = seen.left_PE @ learned.T
    mine_P = cosine_PK[np.arange(len(label_P)), label_P]
    others = (cosine_PK.sum(axis=1) - mine_P) / max(1, classes - 1)
    return {
        "pairs": len(label_P),
        "with_left": float(mine_P.mean()),
        "with_left_at_start": float((seen.left_PE * start[label_P]).sum(axis=1).mean()),
        "with_left_of_others": float(others.mean()) if classes > 1 else float("nan"),
        "target": float((learned * target).sum(axis=1).mean()),
        "named": float((cosine_PK.argmax(axis=1) == label_P).mean()) if classes > 1 else float("nan"),
        "named_by_chance": float(np.bincount(label_P, minlength=classes).max() / len(label_P)),
        "alike": _alike(learned),
        "alike_targets": _alike(target),
    }


def _alike(feature_KE: Floats) -> float:
    """Mean cosine of different rows; NaN for a single one."""
    count = len(feature_KE)
    if count < 2:
        return float("nan")
    cosine_KK = feature_KE @ feature_KE.T
    return float((cosine_KK.sum() - np.trace(cosine_KK)) / (count * (count - 1)))
