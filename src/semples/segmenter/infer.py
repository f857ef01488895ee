"""Whole photos through a segmenter, at one size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from semples.data.photos import resize_photo
from semples.data.transforms import image_to_tensor
from semples.segmenter.build import Segmenter


@torch.no_grad()
def segment_photo(segmenter: Segmenter, photo: NDArray[np.uint8], *, device: torch.device) -> NDArray[np.uint8]:
    """Labels (H,W) uint8 of a photo (H,W,3) uint8: 0 background, class k is k + 1.

    The photo is resized so that its shorter side is the segmenter's size (a network of a fixed size gets a
    square), and the probabilities back to the photo's size.
    """
    height, width = photo.shape[:2]
    factor = segmenter.config.size / min(height, width)
    size = [max(1, round(side * factor)) for side in (width, height)]
    if segmenter.fixed_size is not None:
        size = [segmenter.fixed_size] * 2
    resized = photo if size == [width, height] else resize_photo(photo, *size)
    image = image_to_tensor(resized, segmenter.config.mean, segmenter.config.std).to(device)
    probability = segmenter(image[None]).exp()
    whole = F.interpolate(probability, size=(height, width), mode="bilinear", align_corners=False)
    labels: NDArray[np.uint8] = whole[0].argmax(0).to(torch.uint8).cpu().numpy()
    return labels
