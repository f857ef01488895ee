"""Training views of photos and their label maps, each drawn from a key (seed, epoch, index) and from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from semples.core.errors import UserError
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.data.dataset import Item, TaggedDataset, with_items
from semples.data.photos import probe
from semples.data.transforms import colour_jitter, image_to_tensor, key_rng
from semples.recipe import SegmentAugmentSettings, SegmenterSettings
from semples.training.feed import Key, Row, keyed_noise
from semples.training.task import Batch

BACKGROUND, IGNORE = 0, 255
View = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
CONFIDENCE = "confidence"  # folder below the label maps, where they have confidences


@dataclass(kw_only=True)
class MaskedBatch(Batch):
    """Besides images: labels (B,S,S) uint8, 255 not labelled, and weight (B,S,S) uint8, of 255."""

    labels: Tensor
    weight: Tensor


def view_side(settings: SegmenterSettings) -> int:
    """Side of the training views, in pixels. Raises ValueError where the settings are not settled (`auto`)."""
    if isinstance(settings.image_size, str):
        raise ValueError("settle segmenter.image_size auto first")
    return settings.image_size


@dataclass(frozen=True)
class MaskedViews(Dataset[Row]):
    """Augmented views with labels by (epoch, index)."""

    dataset: TaggedDataset
    labels: LabelFolder
    settings: SegmenterSettings
    seed: int

    @property
    def pairs(self) -> np.ndarray:
        """Nothing is averaged over pairs: (n,) zeros."""
        return np.zeros(len(self.dataset.items), np.int64)

    def __getitem__(self, key: Key) -> Row:
        epoch, index = key
        settings = self.settings
        rng = key_rng(seed=self.seed, epoch=epoch, index=index)
        view, labels, weight = self._view(index, rng)
        if settings.augment.paste > 0 and rng.random() < settings.augment.paste:
            other = int(rng.integers(len(self.dataset.items)))
            view, labels, weight = pasted(self._view(other, rng), (view, labels, weight))
        return (
            image_to_tensor(view, settings.mean, settings.std),
            keyed_noise(1, seed=self.seed, key=key),
            torch.from_numpy(labels),
            torch.from_numpy(weight),
        )

    def _view(self, index: int, rng: np.random.Generator) -> View:
        """Photo (S,S,3), labels (S,S) and weight (S,S), uint8, of one photo, augmented."""
        item, settings = self.dataset.items[index], self.settings
        labels, confidence = self.labels.read(item)
        noise = settings.noise
        if confidence is not None and noise.ignore_below > 0:
            labels = np.where(confidence < noise.ignore_below * 255, np.uint8(IGNORE), labels)
        weight = confidence if confidence is not None and noise.weigh else np.full_like(labels, 255)
        return segment_view(
            self.dataset.photo(item),
            labels,
            weight,
            settings=settings.augment,
            size=view_side(settings),
            fill=_bytes(settings.mean),
            rng=rng,
        )

    def collate(self, rows: list[Row]) -> MaskedBatch:
        image, noise, labels, weight = (torch.stack(column) for column in zip(*rows, strict=True))
        seed = int(noise[0, 0].item() * 2**24)
        return MaskedBatch(image=image, labels=labels, weight=weight, seed=seed)


@dataclass(frozen=True)
class LabelFolder:
    """Label maps `ID.png` and, where there are any, confidences `confidence/ID.png` (8-bit grey, 255 is certain)."""

    folder: Path

    @cached_property
    def has_confidence(self) -> bool:
        return (self.folder / CONFIDENCE).is_dir()

    def read(self, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Labels (H,W) and confidences (H,W) or None. Raises UserError where one is unreadable."""
        labels = read_label_png(place_of(self.folder, item.id, ".png"))
        if not self.has_confidence:
            return labels, None
        return labels, read_label_png(place_of(self.folder / CONFIDENCE, item.id, ".png"))


def labelled(dataset: TaggedDataset, labels: LabelFolder) -> TaggedDataset:
    """The photos of `dataset` that have a label map with at least one known pixel; every map is looked at once.

    Raises UserError: a map of another size than its photo, a value that is no class, a confidence that is missing or
    of another size, no map at all.
    """
    kept, with_maps = [], 0
    for item in track(dataset.items, label="label maps"):
        path = place_of(labels.folder, item.id, ".png")
        if not path.is_file():
            continue
        with_maps += 1
        values, confidence = labels.read(item)
        width, height = probe(item.photo)
        if values.shape != (height, width):
            raise UserError(
                f"{path}: {values.shape[1]}x{values.shape[0]} pixels, but its photo has {width}x{height}; "
                "save both at the same size"
            )
        strange = values[(values > len(dataset.classes)) & (values != IGNORE)]
        if strange.size:
            raise UserError(
                f"{path}: holds the label {strange[0]}, but there are {len(dataset.classes)} classes; "
                "use the class list that these label maps were made with"
            )
        if confidence is not None and confidence.shape != values.shape:
            raise UserError(f"{labels.folder / CONFIDENCE / item.id}.png: not the size of its label map; make it again")
        if (values != IGNORE).any():
            kept.append(item)
    if with_maps and not kept:
        raise UserError(
            f"{labels.folder}: no pixel of the {with_maps} label maps is labelled, all are 255; "
            "make them with a lower labels.min_confidence"
        )
    if not kept:
        raise UserError(f"{labels.folder}: no label map ID.png for any of the {len(dataset.items)} photos")
    return with_items(dataset, kept)


def segment_view(
    photo: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    weight: NDArray[np.uint8],
    *,
    settings: SegmentAugmentSettings,
    size: int,
    fill: tuple[int, int, int],
    rng: np.random.Generator,
) -> View:
    """A square of `size` pixels: photo (S,S,3), labels (S,S) and weight (S,S), cut and mirrored alike.

    The photo may be a smaller copy: sizes and places are those of the label map. Where the enlarged or reduced photo
    does not fill the square, `fill` stands, with label 255 and weight 0.
    """
    height, width = labels.shape
    factor = size * rng.uniform(*settings.scale) / min(height, width)
    whole = [max(1, round(side * factor)) for side in (width, height)]
    cut = [min(size, side) for side in whole]
    start = [int(rng.integers(0, side - part + 1)) for side, part in zip(whole, cut, strict=True)]
    place = [int(rng.integers(0, size - part + 1)) for part in cut]
    box = (
        start[0] * width / whole[0],
        start[1] * height / whole[1],
        (start[0] + cut[0]) * width / whole[0],
        (start[1] + cut[1]) * height / whole[1],
    )
    mirror = rng.random() < settings.flip
    across, down = photo.shape[1] / width, photo.shape[0] / height
    ends = min(box[2] * across, photo.shape[1]), min(box[3] * down, photo.shape[0])
    seen = (box[0] * across, box[1] * down, *ends)
    picture = Image.fromarray(photo).resize((cut[0], cut[1]), Image.Resampling.BICUBIC, box=seen)
    if settings.colour_jitter > 0:
        picture = colour_jitter(picture, settings.colour_jitter, rng)
    nearest = Image.Resampling.NEAREST
    parts = [picture] + [Image.fromarray(x).resize((cut[0], cut[1]), nearest, box=box) for x in (labels, weight)]
    views = []
    for part, empty in zip(parts, (fill, IGNORE, 0), strict=True):
        view = np.full((size, size, 3) if part.mode == "RGB" else (size, size), empty, np.uint8)
        view[place[1] : place[1] + cut[1], place[0] : place[0] + cut[0]] = np.asarray(part)
        views.append(np.ascontiguousarray(view[:, ::-1]) if mirror else view)
    return views[0], views[1], views[2]


def pasted(upper: View, lower: View) -> View:
    """The lower view with the things of the upper one, all that its labels call a class, in front (copy and paste
    without blending, Ghiasi et al. 2021)."""
    thing = (upper[1] != BACKGROUND) & (upper[1] != IGNORE)
    photo = np.where(thing[..., None], upper[0], lower[0])
    return photo, np.where(thing, upper[1], lower[1]), np.where(thing, upper[2], lower[2])


def _bytes(mean: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * share) for share in mean)
    return red, green, blue
