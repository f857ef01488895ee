"""Photos that only carry tags in, segmentation masks and a network that segments new photos out.

    model = semples.load("folder")                     a trained segmenter, or a run
    labels = model.predict("photo.jpg")                uint8 (H, W): 0 background, k + 1 for model.classes[k]

    run = semples.Run("runs/x", data="photos", recipe="folder")     the command line's own folder
    run(until="cams"); run.cams["beach"]; run(); run.scores().rows()

    data = semples.open_dataset("photos")              own losses and networks: see docs/api.md
    generator = semples.generator("weaktr", classes=data.classes)
    judge = semples.judge("clip", classes=data.classes)
    fit = semples.Trainer("runs/lab")
    fit(semples.stages.Matching(generator, judge), data, epochs=6)

Importing this package is cheap: nothing heavy is loaded before it is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

try:
    __version__ = importlib.metadata.version("semples")
except importlib.metadata.PackageNotFoundError:  # read from a folder that nobody has installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from semples import stages
    from semples.api.networks import generator, judge, label, load_recipe
    from semples.api.run import Run
    from semples.api.trainer import Trainer
    from semples.core.errors import UserError
    from semples.data.dataset import open_dataset
    from semples.prediction.job import predict
    from semples.prediction.load import load

__all__ = [
    "Run",
    "Trainer",
    "UserError",
    "__version__",
    "generator",
    "judge",
    "label",
    "load",
    "load_recipe",
    "open_dataset",
    "predict",
    "stages",
]

_WHERE = {
    "Run": "semples.api.run",
    "Trainer": "semples.api.trainer",
    "UserError": "semples.core.errors",
    "generator": "semples.api.networks",
    "judge": "semples.api.networks",
    "label": "semples.api.networks",
    "load": "semples.prediction",
    "load_recipe": "semples.api.networks",
    "open_dataset": "semples.data.dataset",
    "predict": "semples.prediction",
}


def __getattr__(name: str) -> Any:
    """The names of the API, once they are asked for."""
    if name == "stages":
        return importlib.import_module("semples.stages")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'semples' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
