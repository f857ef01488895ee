"""A label method: Otsu's threshold of every CAM, so that every photo and class has its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.filters import threshold_otsu

from semples.core.schema import setting
from semples.labels.base import LabelInput, LabelMethod
from semples.labels.scored import Scored, Thresholds
from semples.labels.threshold import by_threshold
from semples.settings.labels import LabelSettings


@dataclass(frozen=True, kw_only=True)
class OtsuSettings(LabelSettings):
    """Labels by Otsu's threshold."""

    otsu_share: float = setting(
        0.5,
        "share of Otsu's threshold of the CAM in the threshold of a class; the rest is the background threshold",
        low=0,
        high=1,
        source="own choice",
    )


class Otsu(LabelMethod):
    """The class with the largest CAM where that exceeds Otsu's threshold of it, mixed with the background threshold."""

    Settings = OtsuSettings
    name = "otsu"

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """Scores of the size of the CAMs."""
        mixed_K = np.broadcast_to(np.asarray(thresholds, np.float32), (self.num_classes,)).copy()
        share = getattr(self.settings, "otsu_share", OtsuSettings.otsu_share)
        for index, cam in photo.cams.items():
            if cam.min() < cam.max():  # a CAM of one value has no threshold of its own
                mixed_K[index] = (1 - share) * mixed_K[index] + share * threshold_otsu(cam)
        return by_threshold(photo.cams, photo.shape, mixed_K)
