"""CLIP as a judge of finished masks: does it still recognise the class where only the mask is shown?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semples.data.transforms import RGB, image_to_tensor
from semples.generators.base import Pairs
from semples.judges.clip import FrozenClip
from semples.stages.views import ViewMaker

BATCH = 64  # views a forward pass


class Judge:
    """Scores hard masks of photos by the text features of the classes.

    class_features: (K,E), text features t_k. view_maker: how a view for CLIP is made of photo and mask, as in training.
    mean, std: what a photo is normalised with before that (the generator's). The whole photo is squeezed into CLIP's
    square, so that a mask is never cut.
    """

    def __init__(
        self, clip: FrozenClip, class_features_KE: Tensor, *, view_maker: ViewMaker, mean: RGB, std: RGB
    ) -> None:
        self.clip = clip
        self.class_features_KE = class_features_KE
        self.view_maker = view_maker
        self.mean, self.std = mean, std
        self.scale = float(clip.model.logit_scale.exp())

    @torch.no_grad()
    def probabilities(
        self, photo: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], classes: Sequence[int]
    ) -> NDArray[np.float64]:
        """Probability (n,) of each mask's class, 0..1: CLIP's softmax over all K classes, at CLIP's own temperature.

        `photo`: (H,W,3). `masks`: n of (H,W). `classes`: n class indices. What a mask leaves out is the mean colour.
        """
        keys = [mask.tobytes() for mask in masks]
        different = dict(zip(keys, masks, strict=True))  # a mask that comes again is looked at once
        places = {key: place for place, key in enumerate(different)}
        foreground_nE = self._features(photo, list(different.values()))[[places[key] for key in keys]]
        shares_nK = (self.scale * foreground_nE @ self.class_features_KE.t()).softmax(dim=-1)
        rows = torch.arange(len(classes), device=shares_nK.device)
        return shares_nK[rows, torch.as_tensor(classes, device=shares_nK.device)].double().cpu().numpy()

    def _features(self, photo: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]) -> Tensor:
        """Image features (n,E) of the foreground views."""
        side, device = self.view_maker.size, self.clip.device
        image_13HW = image_to_tensor(photo, self.mean, self.std)[None].to(device)
        found = []
        for start in range(0, len(masks), BATCH):
            part = torch.from_numpy(np.stack(masks[start : start + BATCH])).to(device, torch.float32)
            mask_nSS = F.interpolate(part[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0]
            pairs = Pairs(*torch.zeros(2, len(part), dtype=torch.long, device=device))
            foreground, _ = self.view_maker.views(image_13HW, mask_nSS, pairs)
            found.append(self.clip.encode_images(foreground))
        return torch.cat(found)
