"""Learned background prompts: for every class, vectors in the text encoder's token space (SemPLeS sec. 3.3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.files import atomic_path

CLASSES_KEY = "classes"


class BackgroundPrompts(nn.Module):
    """`vectors` (K, M, width), uniform in [0,1) at start: K classes, M vectors each."""

    def __init__(self, *, num_classes: int, length: int, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.rand(num_classes, length, width, generator=generator))

    def forward(self, labels: Tensor) -> Tensor:
        """Prompts (n, M, width) of class indices (n,)."""
        return self.vectors[labels]

    def save(self, path: Path, *, classes: Sequence[str]) -> None:
        """One safetensors file with `vectors` and the class names."""
        tensors = {"vectors": self.vectors.detach().to("cpu").contiguous()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={CLASSES_KEY: json.dumps(list(classes))})


def load_prompts(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Saved vectors (K, M, width) and class names. Raises UserError for a file of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; learn the prompts first (semples train prompting)")
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("vectors"), tuple(json.loads((file.metadata() or {})[CLASSES_KEY]))
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not background prompts saved by this program") from None
