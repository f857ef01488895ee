"""Learned backgrounds: for every class some vectors, of which a judge makes a feature (SemPLeS sec. 3.3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.tensorfile import write_tensors

CLASSES_KEY = "classes"


class BackgroundPrompts(nn.Module):
    """`vectors` (K, M, W): K classes, M vectors each; `Judge.start_backgrounds` gives their start."""

    def __init__(self, start_KMW: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start_KMW.clone())

    def forward(self, labels: Tensor) -> Tensor:
        """Vectors (n, M, W) of class indices (n,)."""
        return self.vectors[labels]

    def save(self, path: Path, *, classes: Sequence[str]) -> None:
        """One safetensors file with `vectors` and the class names."""
        tensors = {"vectors": self.vectors.detach().to("cpu").contiguous()}
        write_tensors(path, tensors, about={CLASSES_KEY: json.dumps(list(classes))})


def load_prompts(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Saved vectors (K, M, W) and class names. Raises UserError for a file of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; learn the prompts first (`semples train prompting --out RUN`)")
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("vectors"), tuple(json.loads((file.metadata() or {})[CLASSES_KEY]))
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not background prompts saved by this program") from None
