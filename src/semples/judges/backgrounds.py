"""Learned backgrounds of a judge without text: free vectors in its feature space, read out as patches of photos.

SemPLeS's background prompts (arXiv 2401.11791, sec. 3.3) without a text encoder: each class gets one to five vectors
b_km. A class's background view is drawn to the nearest of its vectors, and every vector is kept away from *all*
classes, not only from its own: what is shown by another class's things is no background.

Suffixes: K classes, M vectors a class, E channels, P (photo, class) pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LearnedBackgrounds(nn.Module):
    """`vectors` (K,M,E), directions at random at start."""

    def __init__(self, *, num_classes: int, count: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(F.normalize(torch.randn(num_classes, count, width, generator=generator), dim=-1))

    def nearest(self, feature_PE: Tensor, label_P: Tensor) -> Tensor:
        """Cosine (P,) of features of length 1 with the nearest background of each pair's class."""
        vector_PME = F.normalize(self.vectors[label_P], dim=-1)
        return torch.einsum("pe,pme->pm", feature_PE, vector_PME).amax(dim=1)

    def losses(
        self, background_PE: Tensor, label_P: Tensor, class_vectors_KE: Tensor, *, scale: float = 10.0
    ) -> tuple[Tensor, Tensor]:
        """Attraction (P,) of background views to their nearest vector, and separation (K,) of vectors from all classes.

        background: features of background views, of length 1. class_vectors: of length 1. Both losses are of the form
        log(1 + exp(-+ scale · cos)): a cosine of centred features is 0 for what has nothing to do with another.
        """
        attraction_P = F.softplus(-scale * self.nearest(background_PE, label_P))
        cosine_KMJ = F.normalize(self.vectors, dim=-1) @ class_vectors_KE.t()
        return attraction_P, F.softplus(scale * cosine_KMJ).mean(dim=(1, 2))


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
