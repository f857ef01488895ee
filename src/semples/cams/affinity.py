"""Class-attention affinity: a CAM spread along the attention between patches (CLIP-ES, arXiv 2212.09506, sec. 3.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semples.recipe import AffinitySettings


def sinkhorn(attention_NN: Tensor, *, rounds: int) -> Tensor:
    """Attention (N,N), positive, made nearly doubly stochastic and symmetric.

    `rounds` times every column, then every row is divided by its sum; then the mean with the transpose is taken.
    """
    balanced_NN = attention_NN
    for _ in range(rounds):
        balanced_NN = balanced_NN / balanced_NN.sum(dim=0, keepdim=True)
        balanced_NN = balanced_NN / balanced_NN.sum(dim=1, keepdim=True)
    return (balanced_NN + balanced_NN.t()) / 2


def box_mask(cam_hw: Tensor, *, threshold: float) -> Tensor:
    """Where a box around a connected part of the CAM above `threshold` of its range reaches: bool (h,w)."""
    from skimage.measure import label, regionprops

    low, high = cam_hw.min(), cam_hw.max()
    above = (cam_hw > low + threshold * (high - low)).cpu().numpy()
    mask = np.zeros(above.shape, bool)
    for part in regionprops(label(above, connectivity=2)):
        top, left, bottom, right = part.bbox
        mask[top:bottom, left:right] = True
    return torch.from_numpy(mask).to(cam_hw.device)


def applied(cam_Phw: Tensor, affinity_NN: Tensor, *, power: int) -> Tensor:
    """CAMs (P,h,w) of one photo times its affinity (N,N) `power` times."""
    spread_PN = cam_Phw.flatten(1)
    for _ in range(power):
        spread_PN = spread_PN @ affinity_NN.t()
    return spread_PN.view_as(cam_Phw)


def spread(cam_Phw: Tensor, affinity_NN: Tensor, settings: AffinitySettings) -> Tensor:
    """CAMs (P,h,w) of one photo times its affinity (N,N) `settings.power` times, 0 outside the CAM's own boxes."""
    boxes = torch.stack([box_mask(cam, threshold=settings.box) for cam in cam_Phw])
    return applied(cam_Phw, affinity_NN, power=settings.power) * boxes
