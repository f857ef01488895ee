"""How the logit of a class comes of its map of logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def smooth_max(maps_BKN: Tensor, *, sharpness: float) -> Tensor:
    """(1/r) log mean exp(r z) over the cells, (B,K): between the mean (r small) and the maximum (r large)."""
    return (torch.logsumexp(sharpness * maps_BKN, dim=2) - math.log(maps_BKN.shape[2])) / sharpness


def ranked_mean(maps_BKN: Tensor, *, decay: float) -> Tensor:
    """Mean over the cells, (B,K), the r-th largest (r = 0, 1, ...) with the weight decay^r (MCTformer+)."""
    weight_N = decay ** torch.arange(maps_BKN.shape[2], dtype=maps_BKN.dtype, device=maps_BKN.device)
    return maps_BKN.sort(dim=2, descending=True).values @ (weight_N / weight_N.sum())
