"""The losses of SemPLeS (arXiv 2401.11791) as pure functions of likenesses, one value per (photo, class) pair.

Every function takes likenesses (P,), cosines in -1..1 or probabilities, and returns losses (P,); averaging over pairs
is the caller's. A judge says what its likeness is (`judges.base.Judge.likeness`).
"""

from __future__ import annotations

from torch import Tensor

LOWEST, HIGHEST = 1e-4, 0.9999  # a cosine is clamped to this range before any logarithm


def attract(likeness_P: Tensor) -> Tensor:
    """-log cos: pulls two features together."""
    return -likeness_P.clamp(LOWEST, HIGHEST).log()


def repel(likeness_P: Tensor) -> Tensor:
    """-log(1 - cos): pushes two features apart."""
    return -(1 - likeness_P.clamp(LOWEST, HIGHEST)).log()


def separate(likeness_P: Tensor) -> Tensor:
    """log cos, to be minimised: keeps a background prompt away from its class's own text (SemPLeS eq. (4))."""
    return likeness_P.clamp(LOWEST, HIGHEST).log()


def cosine(left_PE: Tensor, right_PE: Tensor) -> Tensor:
    """Raw cosine (P,) of L2-normalised features; there is no temperature."""
    return (left_PE * right_PE).sum(dim=-1)
