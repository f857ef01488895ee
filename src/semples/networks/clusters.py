"""Regions of a photo's patches without any weights: clusters of their features, or superpixels.

Shape suffixes: N = h·w patches, C channels, R regions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
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


def superpixels(photo_HW3: Tensor, *, grid: tuple[int, int], patch: int, count: int) -> Tensor:
    """Superpixel (N,) int64 of every patch of a photo, uint8 (H,W,3): the SLIC segment that most of its pixels have.

    What lies right and below of whole patches is not looked at.
    """
    from skimage.segmentation import slic

    h, w = grid
    values = photo_HW3.cpu().numpy()[: h * patch, : w * patch]
    segments = slic(values, n_segments=count, compactness=10.0, start_label=0, channel_axis=-1)
    blocks = segments.reshape(h, patch, w, patch).transpose(0, 2, 1, 3).reshape(h * w, -1)
    shared = np.zeros((h * w, segments.max() + 1), np.int64)
    np.add.at(shared, (np.arange(h * w)[:, None], blocks), 1)
    return torch.from_numpy(shared.argmax(axis=1))
