"""Sums of attention maps over heads and blocks, and such sums applied to values without any map being formed.

Shape suffixes: B images, T tokens, N patches, H heads, D channels of a head, L blocks, p columns of values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAP_SHARE = 1 / 8  # of a GPU's memory
BLOCK_BYTES = 1 << 20  # rows of an attention map that stay in a processor's cache


def map_bytes(device: torch.device, on_processor: int) -> int:
    """Attention maps of a batch up to this size are kept and summed up together; larger ones are never formed, photo by
    photo. That is many small operations, which a GPU is slow at, so there its memory decides."""
    if device.type != "cuda":
        return on_processor
    return int(MAP_SHARE * torch.cuda.get_device_properties(device).total_memory)


def attend(q_HND: Tensor, k_HTD: Tensor, value_Tp: Tensor, weight_H11: Tensor) -> Tensor:
    """Σ_h w_h softmax(q_h k_hᵀ) V (N,p), never with more than a block of a map at once."""
    if q_HND.device.type == "cpu" and q_HND.dtype == torch.float32 and not torch.is_grad_enabled():
        return _attend_by_blocks(q_HND, k_HTD, value_Tp, weight_H11)
    heads, _, width = q_HND.shape
    parts = []
    for part in value_Tp.split(width, dim=1):  # fused kernels want values as wide as the queries
        padded_HTD = F.pad(part, (0, width - part.shape[1])).expand(heads, -1, -1)
        mixed_HND = F.scaled_dot_product_attention(q_HND[None], k_HTD[None], padded_HTD[None], scale=1.0)[0]
        parts.append((mixed_HND[:, :, : part.shape[1]] * weight_H11).sum(dim=0))
    return torch.cat(parts, dim=1)


def _attend_by_blocks(q_HND: Tensor, k_HTD: Tensor, value_Tp: Tensor, weight_H11: Tensor) -> Tensor:
    """The same on a processor: rows of a head's map, as many as its cache holds, meet the few columns of V and no
    padding, at four fifths of the time."""
    columns_pT = value_Tp.t().contiguous()
    p, T = columns_pT.shape
    mixed_pN = columns_pT.new_zeros(p, q_HND.shape[1])
    room_nT = columns_pT.new_empty(max(1, BLOCK_BYTES // (T * columns_pT.element_size())), T)
    for q_ND, k_TD, weight_11 in zip(q_HND, k_HTD.contiguous(), weight_H11, strict=True):
        for start in range(0, len(q_ND), len(room_nT)):
            block_nD = q_ND[start : start + len(room_nT)]
            map_nT = torch.mm(block_nD, k_TD.t(), out=room_nT[: len(block_nD)])
            torch.softmax(map_nT, dim=-1, out=map_nT)
            mixed_pN[:, start : start + len(block_nD)].addcmul_(columns_pT @ map_nT.t(), weight_11)
    return mixed_pN.t()


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
