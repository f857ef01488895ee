"""A judge of finished masks: does it still recognise the class where only the mask is shown?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semples.data.transforms import RGB, image_to_tensor
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.stages.views import ViewMaker

BATCH = 64  # views a forward pass


class Recognition:
    """Scores hard masks of photos by the targets of the classes.

    view_maker: how a view is made of photo and mask, as in training. mean, std: what a photo is normalised with before
    that (the generator's). The whole photo is squeezed into the judge's square, so that a mask is never cut.
    """

    def __init__(self, judge: Judge, *, view_maker: ViewMaker, mean: RGB, std: RGB) -> None:
        self.judge = judge
        self.view_maker = view_maker
        self.mean, self.std = mean, std

    @torch.no_grad()
    def probabilities(
        self, photo: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], classes: Sequence[int]
    ) -> NDArray[np.float64]:
        """Probability (n,) of each mask's class, 0..1: the judge's softmax over all K classes (`Judge.probabilities`).

        `photo`: (H,W,3). `masks`: n of (H,W). `classes`: n class indices. What a mask leaves out is the mean colour.
        """
        keys = [mask.tobytes() for mask in masks]
        different = dict(zip(keys, masks, strict=True))  # a mask that comes again is looked at once
        places = {key: place for place, key in enumerate(different)}
        foreground_nE = self._features(photo, list(different.values()))[[places[key] for key in keys]]
        shares_nK = self.judge.probabilities(foreground_nE)
        rows = torch.arange(len(classes), device=shares_nK.device)
        return shares_nK[rows, torch.as_tensor(classes, device=shares_nK.device)].cpu().double().numpy()

    def _features(self, photo: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]) -> Tensor:
        """Image features (n,E) of the foreground views."""
        side, device = self.view_maker.size, self.judge.device
        image_13HW = image_to_tensor(photo, self.mean, self.std)[None].to(device)
        features = []
        for start in range(0, len(masks), BATCH):
            part = torch.from_numpy(np.stack(masks[start : start + BATCH])).to(device, torch.float32)
            mask_nSS = F.interpolate(part[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0]
            pairs = Pairs(*torch.zeros(2, len(part), dtype=torch.long, device=device))
            foreground, _ = self.view_maker.views(image_13HW, mask_nSS, pairs)
            features.append(self.judge.encode(foreground))
        return torch.cat(features)
