"""Label maps by a segmenter in one pass, for a look at many photos; `semples predict` takes more care."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from semples.data.transforms import image_to_tensor, resize_photo
from semples.segmenter.build import Segmenter
from semples.segmenter.shapes import only_side

STEP = 32  # sides are rounded to it


@torch.no_grad()
def quick_labels(
    segmenter: Segmenter, photo: NDArray[np.uint8], *, side: int, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """The likeliest value of every pixel, uint8 of `shape` (H,W), of a photo uint8 (h,w,3) squeezed into a square of
    `side` pixels (`quick_side`); the segmenter is in eval mode."""
    device = next(segmenter.parameters()).device
    image = image_to_tensor(resize_photo(photo, side, side), segmenter.config.mean, segmenter.config.std)
    scores_1Chw = segmenter(image[None].to(device))
    scores_CHW = F.interpolate(scores_1Chw, size=shape, mode="bilinear", align_corners=False)[0]
    return scores_CHW.argmax(dim=0).to(torch.uint8).cpu().numpy()


def quick_side(segmenter: Segmenter) -> int:
    """The side of the squares that `quick_labels` makes of photos."""
    return only_side(segmenter, step=STEP) or max(STEP, round(segmenter.config.size / STEP) * STEP)
