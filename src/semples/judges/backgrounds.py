"""Learned backgrounds of a judge without text, read out as patches of the user's photos in place of words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Patch:
    """A cell of a photo that looks like a vector: the photo's number, row and column of the cell, and the cosine."""

    photo: int
    row: int
    column: int
    cosine: float


@torch.no_grad()
def nearest_patches(
    vector_ME: Tensor, features: Iterable[Tensor], *, centre_E: Tensor, count: int
) -> list[list[Patch]]:
    """For each of M vectors the `count` cells nearest to it, the nearest first, at most one of a photo.

    features: maps (E,h,w) of photos 0, 1, ..., not centred; `centre` is taken off them.
    """
    directions = F.normalize(vector_ME, dim=1)
    best: list[list[Patch]] = [[] for _ in directions]
    for photo, values_Ehw in enumerate(features):
        width = values_Ehw.shape[2]
        cells_NE = F.normalize(values_Ehw.flatten(1).t() - centre_E, dim=1)
        cosine_M, cell_M = (directions @ cells_NE.t()).max(dim=1)
        for patches, cosine, cell in zip(best, cosine_M.tolist(), cell_M.tolist(), strict=True):
            patches.append(Patch(photo, cell // width, cell % width, cosine))
            patches.sort(key=lambda patch: (-patch.cosine, patch.photo))
            del patches[count:]
    return best
