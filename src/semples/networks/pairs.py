"""The (photo, present class) pairs of a batch, which CAMs, views and losses run over."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The pairs in row-major order of the tags: positions of photos in the batch and class indices, int64 (P,) each."""

    photo: Tensor
    label: Tensor

    @classmethod
    def of(cls, tags_BK: Tensor) -> Pairs:
        """The pairs of tags (B,K), True where a photo carries a class."""
        photo, label = tags_BK.nonzero(as_tuple=True)
        return cls(photo, label)

    def __len__(self) -> int:
        return len(self.photo)
