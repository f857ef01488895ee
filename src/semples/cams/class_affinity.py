"""Affinity by class distribution: patches that resemble the same classes belong together (CD-CLIP, CVPR 2026).

Of every patch i: its scores for all classes (not the tagged alone), each class brought to 0..1 over the patches,

    p_i = softmax over classes of s · score,    a_ij = softmax over j of (1 - JS(p_i, p_j)) / τ

JS is the Jensen-Shannon divergence over log 2, so in 0..1. The affinity is multiplied with the network's own attention
between patches, entries between patches without a common superpixel are 0 where that is asked for (SSR, AAAI 2026),
and rows are divided by their sums. New here: the learned background prompts may be classes too.

Suffixes: J classes (and backgrounds), N = h·w patches, p classes of a CAM.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 256  # rows of the divergence computed together
TINY = 1e-12


def class_distribution(scores_JN: Tensor, *, sharpness: float) -> Tensor:
    """p (N,J): each class's scores brought to 0..1 over the patches, softmax over classes of `sharpness` times them."""
    low = scores_JN.amin(dim=1, keepdim=True)
    span = (scores_JN.amax(dim=1, keepdim=True) - low).clamp_min(TINY)
    return (sharpness * (scores_JN - low) / span).softmax(dim=0).t()


def divergence(share_NJ: Tensor) -> Tensor:
    """Jensen-Shannon divergence (N,N) of every two rows, over log 2: 0 the same, 1 nothing in common."""
    entropy_N = _entropy(share_NJ)
    rows = []
    for start in range(0, len(share_NJ), ROWS):
        part_nJ = share_NJ[start : start + ROWS]
        mixed = _entropy((part_nJ[:, None] + share_NJ[None]) / 2)
        rows.append(mixed - (entropy_N[start : start + ROWS, None] + entropy_N[None]) / 2)
    return (torch.cat(rows) / math.log(2)).clamp(0, 1)


def _entropy(share: Tensor) -> Tensor:
    return -(share * share.clamp_min(TINY).log()).sum(dim=-1)


def distribution_affinity(
    scores_JN: Tensor,
    *,
    temperature: float,
    sharpness: float,
    attention_NN: Tensor | None = None,
    together_NN: Tensor | None = None,
) -> Tensor:
    """Affinity (N,N), rows sum to 1. attention: the network's own, rows from, columns to. together: bool, whether two
    patches may have anything to do with each other; a patch always has with itself."""
    divergence_NN = divergence(class_distribution(scores_JN, sharpness=sharpness))
    affinity_NN = ((1 - divergence_NN) / temperature).softmax(dim=1)
    if attention_NN is not None:
        affinity_NN = affinity_NN * attention_NN
    return normalised(affinity_NN, together_NN)


def normalised(affinity_NN: Tensor, together_NN: Tensor | None) -> Tensor:
    """Rows divided by their sums, entries of patches that are not together set to 0 first."""
    if together_NN is not None:
        itself = torch.eye(len(affinity_NN), dtype=torch.bool, device=affinity_NN.device)
        affinity_NN = affinity_NN * (together_NN | itself)
    return affinity_NN / affinity_NN.sum(dim=1, keepdim=True).clamp_min(TINY)
