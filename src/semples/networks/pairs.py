"""The (photo, present class) pairs of a batch, which CAMs, views and losses run over."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The pairs in row-major order of the tags: positions of photos in the batch and class indices, int64 (P,) each.

    number: the photos' numbers in their dataset, int64 (P,); None: not known.
    """

    photo: Tensor
    label: Tensor
    number: Tensor | None = None

    @classmethod
    def of(cls, tags_BK: Tensor, number_B: Tensor | None = None) -> Pairs:
        """The pairs of tags (B,K), True where a photo carries a class; number: of the photos in their dataset."""
        photo, label = tags_BK.nonzero(as_tuple=True)
        return cls(photo, label, None if number_B is None else number_B[photo])

    def __len__(self) -> int:
        return len(self.photo)
