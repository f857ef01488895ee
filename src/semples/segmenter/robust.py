"""Losses that bear with label maps which are wrong in places."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.recipe import NoiseSettings
from semples.segmenter.network import IGNORE


def noisy_loss(losses_BHW: Tensor, labels_BHW: Tensor, weight_BHW: Tensor, settings: NoiseSettings) -> Tensor:
    """Mean loss of a batch from the losses of its pixels.

    losses: (B,H,W), 0 where the label is 255. weight: uint8, of 255. The mean is over all pixels, known or not, so that
    it does not depend on which photos share a batch, unless the settings cap the losses of the batch's mean map.
    """
    known_BHW = labels_BHW != IGNORE
    weighted_BHW = losses_BHW * (weight_BHW.to(losses_BHW.dtype) / 255)
    if settings.clip == "no":
        return weighted_BHW.mean()
    cap = {"start": settings.clip_start, "patch": settings.clip_patch}
    if settings.clip == "photo":
        capped_BHW = cap_suspicious(losses_BHW, known_BHW, **cap)  # type: ignore[arg-type]
        return (capped_BHW * (weight_BHW.to(losses_BHW.dtype) / 255)).mean()
    counts_1HW = known_BHW.sum(0, keepdim=True)
    map_1HW = weighted_BHW.sum(0, keepdim=True) / counts_1HW.clamp_min(1)
    capped_1HW = cap_suspicious(map_1HW, counts_1HW > 0, **cap)  # type: ignore[arg-type]
    return (capped_1HW * counts_1HW).mean() / len(losses_BHW)


def cap_suspicious(losses_NHW: Tensor, known_NHW: Tensor, *, start: float, patch: int) -> Tensor:
    """Cap pixel losses that stand out: likely wrong labels stop teaching (WeakTr sec. 3.4, "gradient clipping").

    On each of N maps, with the mean over its known pixels: where it is above `start`, training is young and the map
    stays as it is; else every pixel of a patch x patch square is capped at the larger of the square's mean and the
    map's. What was cut off has no gradient.

    Args:
        losses: (N,H,W), >= 0, differentiable. known: (N,H,W) bool; other pixels enter no mean.
        start: mean loss. patch: side of the squares in pixels; the last ones of a row or column may be smaller.
    """
    with torch.no_grad():
        values, counts = losses_NHW * known_NHW, known_NHW.to(losses_NHW.dtype)
        mean_N11 = values.sum((1, 2), keepdim=True) / counts.sum((1, 2), keepdim=True).clamp_min(1)
        H, W = losses_NHW.shape[1:]
        sums, numbers = (
            F.pad(x, (0, -W % patch, 0, -H % patch)).unfold(1, patch, patch).unfold(2, patch, patch).sum((3, 4))
            for x in (values, counts)
        )
        cap_Nhw = torch.maximum(sums / numbers.clamp_min(1), mean_N11)
        cap_NHW = cap_Nhw.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :H, :W]
        cut_NHW = (losses_NHW > cap_NHW) & (mean_N11 <= start)
    return torch.where(cut_NHW, cap_NHW, losses_NHW)
