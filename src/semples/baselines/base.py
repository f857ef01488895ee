"""What every baseline is: another model that labels one photo after another by the names of its tags.

A new one is a class in a file of its own and a line in `semples.settings.kinds.BASELINES`, or an entry point
`semples.baselines` of another package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from semples.labels.scored import Cams, Labelled
from semples.labels.threshold import by_threshold
from semples.settings.baselines import BaselineSettings
from semples.settings.kinds import BASELINES


class Baseline(ABC):
    """Labels of one photo after another by a frozen model; equal photos have equal labels.

    Settings: class of its settings. settings: what it is made from. device: where the model computes.
    """

    Settings: ClassVar[type[BaselineSettings]] = BaselineSettings

    def __init__(self, settings: BaselineSettings, *, device: torch.device | None = None) -> None:
        self.settings = settings
        self.device = device or torch.device("cpu")

    @abstractmethod
    def scores(self, photo: NDArray[np.uint8], names: Sequence[str], tags: Sequence[int]) -> Cams:
        """{class index: scores float32 (H,W) in 0..1} of the tagged classes, of the size of the photo, uint8 (H,W,3).

        names: of all K classes. tags: at least one class index.
        """

    def labels(self, photo: NDArray[np.uint8], names: Sequence[str], tags: Sequence[int]) -> Labelled:
        """Labels and confidences of a photo, uint8 (H,W,3), of its own size.

        At each pixel the tagged class with the highest score wins where that is above `settings.threshold`; without
        tags all is background. `tags`: class indices below the number of `names`.
        """
        shape = (photo.shape[0], photo.shape[1])
        scores = self.scores(photo, names, tags) if tags else {}
        return by_threshold(scores, shape, self.settings.threshold).labelled


def make_baseline(settings: BaselineSettings, *, device: torch.device | None = None) -> Baseline:
    """The baseline of these settings. Raises UserError for an unknown one, or weights of no use."""
    made: Baseline = BASELINES.load(settings.kind)(settings, device=device)
    return made
