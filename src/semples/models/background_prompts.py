"""Learned background prompts: for every class, vectors in the text encoder's token space (SemPLeS sec. 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BackgroundPrompts(nn.Module):
    """`vectors` (K, M, width), uniform in [0,1) at start: K classes, M vectors each."""

    def __init__(self, *, num_classes: int, length: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.rand(num_classes, length, width, generator=generator))

    def forward(self, labels: Tensor) -> Tensor:
        """Prompts (n, M, width) of class indices (n,)."""
        return self.vectors[labels]
