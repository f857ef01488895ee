"""Sums of attention maps over heads and blocks, and such sums applied to values without any map being formed.

Shape suffixes: B images, T tokens, N patches, H heads, D channels of a head, L blocks, p columns of values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAP_SHARE = 1 / 8  # of a GPU's memory


def map_bytes(device: torch.device, on_processor: int) -> int:
    """Attention maps of a batch up to this size are kept and summed up together; larger ones are never formed, photo by
    photo. That is many small operations, which a GPU is slow at, so there its memory decides."""
    if device.type != "cuda":
        return on_processor
    return int(MAP_SHARE * torch.cuda.get_device_properties(device).total_memory)


def attend(q_HND: Tensor, k_HTD: Tensor, value_Tp: Tensor, weight_H11: Tensor) -> Tensor:
    """Σ_h w_h softmax(q_h k_hᵀ) V (N,p) by fused attention kernels, which want V as wide as the queries."""
    heads, _, width = q_HND.shape
    parts = []
    for part in value_Tp.split(width, dim=1):
        padded_HTD = F.pad(part, (0, width - part.shape[1])).expand(heads, -1, -1)
        mixed_HND = F.scaled_dot_product_attention(q_HND[None], k_HTD[None], padded_HTD[None], scale=1.0)[0]
        parts.append((mixed_HND[:, :, : part.shape[1]] * weight_H11).sum(dim=0))
    return torch.cat(parts, dim=1)


def fuse_maps(attention: list[Tensor], weights_BHL: Tensor) -> Tensor:
    """(1 / HL) Σ w A over heads and blocks: L maps (B,H,T,T) -> (B,T,T) (WeakTr eq. (4))."""
    B, H, L = weights_BHL.shape
    T = attention[0].shape[-1]
    layers = list(zip(weights_BHL.unsqueeze(1).unbind(-1), attention, strict=True))
    (first_B1H, first_maps), *rest = ((w_B1H, maps.reshape(B, H, T * T)) for w_B1H, maps in layers)
    fused_B1M = torch.bmm(first_B1H, first_maps)
    for w_B1H, maps_BHM in rest:
        fused_B1M = torch.baddbmm(fused_B1M, w_B1H, maps_BHM)
    return fused_B1M.reshape(B, T, T) / (H * L)
