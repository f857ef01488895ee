"""Training views as bytes: a quarter of what normalised ones take between processes and on the way to a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from semples.data.transforms import RGB, Crop, normalise
from semples.training.task import Batch, pinned

Box = tuple[int, int, int, int, int]  # position in the batch, top, left, height, width


@dataclass(kw_only=True)
class CropBatch:
    """Photos of one forward pass before they are normalised.

    pixels: uint8 (B,3,S,S). boxes: what is erased, and `noise`: float32 (N,), the noise of all boxes in turn, each
    (3,h,w). rest: the batch but for its images. mean, std: float32 (3,).
    """

    pixels: Tensor
    boxes: tuple[Box, ...]
    noise: Tensor
    rest: Batch
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, crops: Sequence[Crop], *, rest: Batch, mean: RGB, std: RGB) -> CropBatch:
        """The crops of a batch."""
        erased = [(place, crop.erased) for place, crop in enumerate(crops) if crop.erased is not None]
        return cls(
            pixels=torch.stack([crop.pixels for crop in crops]),
            boxes=tuple((place, top, left, *noise.shape[1:]) for place, (top, left, noise) in erased),
            noise=torch.cat([noise.flatten() for _, (_, _, noise) in erased]) if erased else torch.empty(0),
            rest=rest,
            mean=torch.tensor(mean),
            std=torch.tensor(std),
        )

    def pin_memory(self) -> CropBatch:
        """The same in memory that a GPU can fetch by itself."""
        return replace(self, **pinned(self), rest=self.rest.pin_memory())

    def to(self, device: torch.device) -> Any:
        """The batch on a device, normalised there: the bits that `train_view` gives, where the device divides alike."""
        pixels, mean, std, noise = (
            value.to(device, non_blocking=True) for value in (self.pixels, self.mean, self.std, self.noise)
        )
        image_B3SS, start = normalise(pixels, mean, std), 0
        for place, top, left, height, width in self.boxes:
            end = start + 3 * height * width
            image_B3SS[place, :, top : top + height, left : left + width] = noise[start:end].view(3, height, width)
            start = end
        return replace(self.rest.to(device), image=image_B3SS)
