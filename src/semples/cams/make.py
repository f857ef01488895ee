"""Class activation maps of whole photos: several scales, mirrored, summed (SemPLeS sec. 4.1, WeakTr)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semples.cams.affinity import applied, sinkhorn, spread
from semples.cams.class_affinity import distribution_affinity, normalised
from semples.core.errors import UserError
from semples.data.transforms import RGB, image_to_tensor, resize_photo
from semples.networks.clusters import together
from semples.networks.pairs import Pairs
from semples.recipe import AffinitySettings, CamSettings

TINY = 1e-8


def scaled_inputs(
    photo: np.ndarray, scales: Sequence[float], *, mean: RGB, std: RGB, smallest: int = 1
) -> list[tuple[Tensor, float]]:
    """Normalised views (3,h,w) of a uint8 photo (H,W,3), one per scale, resized on uint8 by Pillow's bicubic filter.

    A side that would be shorter than `smallest` pixels (one patch) is enlarged to it.
    """
    height, width = photo.shape[:2]
    views = []
    for scale in scales:
        size = max(smallest, round(width * scale)), max(smallest, round(height * scale))
        resized = photo if size == (width, height) else resize_photo(photo, *size)
        views.append((image_to_tensor(resized, mean, std), scale))
    return views


class MakesCams(Protocol):
    """What is looked at of a mask generator (`generators.base.Generator`), in eval mode."""

    num_classes: int
    patch_size: int
    mean: RGB
    std: RGB

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class HasPatchAttention(Protocol):
    """A generator whose patches attend to one another."""

    patch_size: int
    mean: RGB
    std: RGB

    def patch_attention(self, image_B3HW: Tensor) -> Tensor:
        """Attention (B,N,N), positive, rows from, columns to, patches row by row."""
        ...


class PatchScores(Protocol):
    """What every patch of photos resembles: scores (B,J,h,w) of J classes (and backgrounds) at a grid (h,w)."""

    def __call__(self, image_B3HW: Tensor, grid: tuple[int, int]) -> Tensor: ...


@torch.no_grad()
def photo_cams(
    model: MakesCams,
    photos: Sequence[np.ndarray],
    tags: Sequence[tuple[int, ...]],
    *,
    settings: CamSettings,
    device: torch.device | None = None,
    scores: PatchScores | None = None,
) -> list[dict[int, np.ndarray]]:
    """CAMs of photos of one size: per photo {class index: float32 (H,W) in 0..1}, present classes only.

    For every scale the fine CAMs of the photo and its mirror (turned back) are resized bilinearly (align_corners
    False) to the photo's size and summed; per class (c - min) / (max - min + 1e-8). The mirror is turned back and added
    before resizing, which is the same up to rounding since both steps are linear. scores: what the affinity by class
    distribution compares.
    """
    count, (height, width) = len(photos), photos[0].shape[:2]
    num_classes = model.num_classes
    tags_BK = torch.zeros(count, num_classes, dtype=torch.bool)
    for row, present in zip(tags_BK, tags, strict=True):
        row[list(present)] = True
    if not tags_BK.any():
        return [{} for _ in photos]
    mirrored_tags = torch.cat([tags_BK, tags_BK]) if settings.mirror else tags_BK
    pairs = Pairs.of(mirrored_tags.to(device))
    summed_PHW = torch.zeros(int(tags_BK.sum()), height, width, device=device)
    stacks = [
        scaled_inputs(photo, settings.scales, mean=model.mean, std=model.std, smallest=model.patch_size)
        for photo in photos
    ]
    for views in zip(*stacks, strict=True):
        image = torch.stack([view for view, _ in views]).to(device)
        if settings.mirror:
            image = torch.cat([image, image.flip(-1)])
        cam_Phw = model.cams(image, pairs).float()
        if settings.affinity.power:
            cam_Phw = _spread(model, image, pairs, cam_Phw, settings.affinity, scores)
        if settings.mirror:
            straight, mirror = cam_Phw.chunk(2)
            cam_Phw = straight + mirror.flip(-1)
        summed_PHW += F.interpolate(cam_Phw[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
    low = summed_PHW.amin(dim=(1, 2), keepdim=True)
    span = summed_PHW.amax(dim=(1, 2), keepdim=True) - low
    maps = iter(((summed_PHW - low) / (span + TINY)).cpu().numpy())
    return [{label: next(maps) for label in sorted(present)} for present in tags]


def _spread(
    model: MakesCams,
    image_B3HW: Tensor,
    pairs: Pairs,
    cam_Phw: Tensor,
    settings: AffinitySettings,
    scores: PatchScores | None,
) -> Tensor:
    """CAMs (P,h,w) spread along their photo's affinity between patches."""
    by_classes = settings.kind == "class-distribution"
    if by_classes and scores is None:
        raise UserError("cams.affinity.kind class-distribution needs a CLIP as the judge")
    attention_BNN: Tensor | None = None
    if isinstance(model, HasPatchAttention):
        attention_BNN = model.patch_attention(image_B3HW).float()
    elif not by_classes:
        raise UserError(f"cams.affinity: {type(model).__name__} has no attention between patches; use power 0")
    grid = (int(cam_Phw.shape[1]), int(cam_Phw.shape[2]))
    score_BJhw = None if scores is None or not by_classes else scores(image_B3HW, grid)
    spread_Phw = torch.empty_like(cam_Phw)
    for photo in pairs.photo.unique().tolist():
        mine = pairs.photo == photo
        attention_NN = None if attention_BNN is None else attention_BNN[photo]
        together_NN = None
        if settings.superpixels:
            pixels = pixels_of(image_B3HW[photo], mean=model.mean, std=model.std)
            together_NN = together(pixels, grid=grid, count=settings.superpixels).to(cam_Phw.device)
        if score_BJhw is not None:
            affinity_NN = distribution_affinity(
                score_BJhw[photo].flatten(1).float(),
                temperature=settings.temperature,
                sharpness=settings.sharpness,
                attention_NN=attention_NN,
                together_NN=together_NN,
            )
            spread_Phw[mine] = applied(cam_Phw[mine], affinity_NN, power=settings.power)
        else:
            assert attention_NN is not None
            if together_NN is not None:
                attention_NN = normalised(attention_NN, together_NN)
            spread_Phw[mine] = spread(cam_Phw[mine], sinkhorn(attention_NN, rounds=settings.rounds), settings)
    return spread_Phw


def pixels_of(image_3HW: Tensor, *, mean: RGB, std: RGB) -> Tensor:
    """The photo, uint8 (H,W,3), of a normalised view."""
    factor, shift = (torch.tensor(values, device=image_3HW.device)[:, None, None] for values in (std, mean))
    return ((image_3HW * factor + shift).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
