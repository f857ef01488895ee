"""Label maps of new photos: by a trained segmenter without tags, or by a run's mask generator with them."""

from __future__ import annotations

from semples.prediction.job import Predicted, predict
from semples.prediction.load import load
from semples.prediction.model import Model

__all__ = ["Model", "Predicted", "load", "predict"]
