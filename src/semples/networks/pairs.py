"""The (photo, present class) pairs of a batch, which CAMs, views and losses run over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The pairs in row-major order of the tags: positions of photos in the batch and class indices, int64 (P,) each.

    number: the photos' numbers in their dataset, int64 (P,); None: not known. classes: the different ones, ascending,
    int64 (C,), and the place of each pair's class among them, (P,); None: not looked for yet (`distinct`).
    """

    photo: Tensor
    label: Tensor
    number: Tensor | None = None
    classes: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, tags_BK: Tensor, number_B: Tensor | None = None) -> Pairs:
        """The pairs of tags (B,K), True where a photo carries a class; number: of the photos in their dataset."""
        photo, label = tags_BK.nonzero(as_tuple=True)
        return cls(photo, label, None if number_B is None else number_B[photo])

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The different classes and the place of each pair's class among them (`classes`)."""
        if self.classes is not None:
            return self.classes
        classes, place = self.label.unique(return_inverse=True)
        return classes, place

    def known_on(self, device: torch.device) -> Pairs:
        """The same on a device, with all that would have to be fetched from there to be known."""
        photo, label = (values.to(device, non_blocking=True) for values in (self.photo, self.label))
        number = None if self.number is None else self.number.to(device, non_blocking=True)
        classes, place = (values.to(device, non_blocking=True) for values in self.distinct())
        return Pairs(photo, label, number, (classes, place))

    def __len__(self) -> int:
        return len(self.photo)
