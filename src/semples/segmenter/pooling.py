"""Adaptive average pooling as matrix products, for files of other runtimes: ONNX has no operator for it."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_by_products(x_BCHW: Tensor, rows: int, columns: int) -> Tensor:
    """What `adaptive_avg_pool2d(x, (rows, columns))` gives, (B,C,rows,columns), for maps of any size."""
    height, width = x_BCHW.shape[-2:]
    return _means(rows, height) @ x_BCHW @ _means(columns, width).transpose(0, 1)


def _means(count: int, size: int) -> Tensor:
    """The pooling along one axis, float32 (count,size).

    Value i is the mean of the values from floor(i size / count) up to, excluding, ceil((i + 1) size / count).
    """
    index, place = torch.arange(count)[:, None], torch.arange(size)[None]
    first, end = index * size // count, ((index + 1) * size + count - 1) // count
    inside = ((place >= first) & (place < end)).float()
    return inside / inside.sum(dim=1, keepdim=True)
