"""Regions of a photo's patches without any weights: clusters of their features, or superpixels.

Shape suffixes: N = h·w patches, C channels, R regions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

ROUNDS = 10


def clusters(features_NC: Tensor, *, count: int) -> Tensor:
    """Cluster (N,) int64 of every patch, spherical k-means by cosine with at most `count` clusters.

    The same patches give the same clusters: centres start at the patch nearest to the mean, then each at the patch
    that is least like all before (farthest point).
    """
    unit_NC = F.normalize(features_NC.float(), dim=1)
    count = min(count, len(unit_NC))
    first = int((unit_NC @ unit_NC.mean(dim=0)).argmax())
    chosen = [first]
    nearest_N = unit_NC @ unit_NC[first]
    for _ in range(count - 1):
        chosen.append(int(nearest_N.argmin()))
        nearest_N = torch.maximum(nearest_N, unit_NC @ unit_NC[chosen[-1]])
    centre_RC = unit_NC[chosen]
    region_N = (unit_NC @ centre_RC.t()).argmax(dim=1)
    for _ in range(ROUNDS):
        sums_RC = torch.zeros_like(centre_RC).index_add_(0, region_N, unit_NC)
        filled = sums_RC.norm(dim=1) > 0
        centre_RC = torch.where(filled[:, None], F.normalize(sums_RC, dim=1), centre_RC)
        again_N = (unit_NC @ centre_RC.t()).argmax(dim=1)
        if torch.equal(again_N, region_N):
            break
        region_N = again_N
    return region_N


def superpixels(photo_HW3: Tensor, *, grid: tuple[int, int], count: int) -> Tensor:
    """Superpixel (N,) int64 of every cell of a photo, uint8 (H,W,3): the SLIC segment that most of its pixels have."""
    return torch.from_numpy(_pixels_in(photo_HW3, grid=grid, count=count).argmax(axis=1))


def together(photo_HW3: Tensor, *, grid: tuple[int, int], count: int, least: float = 0.1) -> Tensor:
    """Whether two cells of a photo, uint8 (H,W,3), have a superpixel in common: bool (N,N).

    A cell has every one of about `count` SLIC segments that at least the share `least` of its pixels have.
    """
    shared = _pixels_in(photo_HW3, grid=grid, count=count)
    member_NR = torch.from_numpy(shared >= least * shared.sum(axis=1, keepdims=True)).float()
    return (member_NR @ member_NR.t()) > 0


def _pixels_in(photo_HW3: Tensor, *, grid: tuple[int, int], count: int) -> NDArray[np.int64]:
    """How many pixels of every cell (N) lie in every segment (R); the grid is stretched over the photo."""
    from skimage.segmentation import slic

    values = photo_HW3.cpu().numpy()
    segments = slic(values, n_segments=count, compactness=10.0, start_label=0, channel_axis=-1)
    rows, columns = (np.arange(length) * cells // length for length, cells in zip(values.shape, grid, strict=False))
    cell = rows[:, None] * grid[1] + columns[None]
    shared = np.zeros((grid[0] * grid[1], int(segments.max()) + 1), np.int64)
    np.add.at(shared, (cell.ravel(), segments.ravel()), 1)
    return shared
