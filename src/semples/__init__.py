"""Photos that only carry tags in, segmentation masks and a network that segments new photos out.

    model = semples.load("folder")                     a trained segmenter, or a run
    labels = model.predict("photo.jpg")                uint8 (H, W): 0 background, k + 1 for model.classes[k]
    semples.predict(model, ["photos"], out="labels")   many photos: label maps, overlays, areas

Importing this package is cheap: nothing heavy is loaded before it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "predict"]


def __getattr__(name: str) -> Any:
    """`load` and `predict`, once they are asked for."""
    if name in ("load", "predict"):
        return getattr(importlib.import_module("semples.prediction"), name)
    raise AttributeError(f"module 'semples' has no attribute {name!r}")
