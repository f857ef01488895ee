"""Reproduction, a warm-up from CAMs of another program: the generator learns from tags, and to show what they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.data.transforms import key_rng, placement
from semples.generators.base import Generator
from semples.generators.saved import rescaled
from semples.settings.stages import ReproductionSettings
from semples.stages.base import Parts
from semples.stages.views import cam_masks
from semples.stages.warmup import Warmup
from semples.training.feed import Key, Row, TrainingViews, Views
from semples.training.task import TaggedBatch, Total, share

CELL = 4  # pixels of a view for one pixel of a given CAM


@dataclass(kw_only=True)
class GivenBatch(TaggedBatch):
    """Besides photos and tags: given CAMs (B,K,S/4,S/4) uint8, of 255."""

    given: Tensor


class Reproduction(Warmup):
    """Warm-up that also teaches given CAMs: classification loss + λ · mean (M_k - C_k)² over pairs and pixels.

    M_k: the generator's CAM as a mask (SemPLeS eq. (1), epsilon a tenth of its range); C_k: the given one, cut and
    mirrored as its photo is. It trains what the generator's warm-up trains.
    """

    Settings = ReproductionSettings

    def __init__(self, generator: Generator, store: CamStore, *, lambda_reproduction: float = 1.0) -> None:
        super().__init__(generator)
        self.store, self.lambda_reproduction = store, lambda_reproduction

    @classmethod
    def of_run(cls, parts: Parts, settings: Any) -> Self:
        if settings.augment.randaugment_ops:
            raise UserError(
                "warmup.augment.randaugment_ops: a given CAM cannot be turned as RandAugment turns its photo; set it "
                "to 0 for kind=reproduction"
            )
        store = parts.given_cams(settings.cams)
        return cls(parts.new_generator(), store, lambda_reproduction=settings.lambda_reproduction)

    def views(self, plain: Views) -> TrainingViews:
        """Photos with their given CAMs."""
        return GivenViews(plain, self.store)

    def forward(self, batch: TaggedBatch, total: Total) -> dict[str, Tensor]:
        assert isinstance(batch, GivenBatch)
        terms = super().forward(batch, total)
        pairs = batch.pairs
        given_PSS = batch.given[pairs.photo, pairs.label].float() / 255
        cam_Phw = self.generator.cams(batch.image, pairs, noise_BZ=batch.noise)
        if len(pairs) == 0:
            return terms | {"classification": terms["loss"].detach(), "reproduction": terms["loss"].detach() * 0}
        mask_PSS = cam_masks(cam_Phw, size=given_PSS.shape[-1], epsilon="relative")
        reproduction = share((mask_PSS - given_PSS).square().mean(dim=(1, 2)), total.pairs)
        return {
            "loss": terms["loss"] + self.lambda_reproduction * reproduction,
            "classification": terms["loss"].detach(),
            "reproduction": reproduction.detach(),
        }


@dataclass(frozen=True)
class GivenViews(Dataset[Row]):
    """Views of photos with their given CAMs by (epoch, index)."""

    plain: Views
    store: CamStore

    @property
    def pairs(self) -> np.ndarray:
        return self.plain.pairs

    def __getitem__(self, key: Key) -> Row:
        item = self.plain.dataset.items[key[1]]
        side = max(1, self.plain.size // CELL)
        given_Kss = np.zeros((self.plain.tags.shape[1], side, side), np.uint8)
        maps = self.store.read(item.id)
        width, height = self._size(item)
        rng = key_rng(seed=self.plain.seed, epoch=key[0], index=key[1])
        (left, top, box_width, box_height), mirrored = placement(width, height, self.plain.augment, rng)
        for tag in item.tags:
            if tag not in maps:
                raise UserError(f"{self.store.folder}: CAMs of {item.id} lack class {tag} (from 0), one of its tags")
            scale = maps[tag].shape[1] / width, maps[tag].shape[0] / height
            box = (left * scale[0], top * scale[1], (left + box_width) * scale[0], (top + box_height) * scale[1])
            picture = Image.fromarray(rescaled(maps[tag]))
            cut = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))
            given_Kss[tag] = np.rint((cut[:, ::-1] if mirrored else cut) * 255).astype(np.uint8)
        return (*self.plain[key], torch.from_numpy(given_Kss))

    def _size(self, item: Any) -> tuple[int, int]:
        photo = self.plain.dataset.photo(item)
        return photo.shape[1], photo.shape[0]

    def collate(self, rows: list[Row]) -> GivenBatch:
        batch = self.plain.collate([row[:-1] for row in rows])
        return GivenBatch(**vars(batch), given=torch.stack([row[-1] for row in rows]))
