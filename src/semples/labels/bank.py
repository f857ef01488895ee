"""Region bank: regions get their names from the nearest regions of all photos (ModuSeg, arXiv 2604.07021).

`RegionBank.fit` takes label maps of tagged photos, from any generator, and keeps for each region of a photo the mean
feature of its pixels of the region's most frequent label, with that label. `RegionBank.vote` looks up the regions of a
photo: each takes the vote of its K nearest entries by cosine, entries of the same photo left out, and with tags only
entries of the background and of the tagged classes. So a label that a CAM got wrong in one photo is put right by the
other photos, and outlines are those of the regions.

Features are those of any frozen network; a cell counts for a region by the pixels that it shares with it. As published:
masks eroded before pooling, 25 % of each class's entries (not of the background) dropped that are farthest from the
class's mean, K = 25. Published entries are whole masks; here they are regions (`entries`), which measured better.

Shape suffixes: C channels, h·w cells, R regions, N entries, V values that may be given (background first).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.labels.regions import Level, Regions, average_scores, level_of_segments, painted_scores
from semples.labels.scored import IGNORE, Scored
from semples.settings.bank import BankSettings

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """Features of one photo: float32 (C,h,w); cell (i,j) covers the pixels from (i,j) times `stride` on.

    stride: pixels of a cell, downwards and across, not necessarily whole. blocks: channels that belong together, such
    as those of one depth; sums to C. Each block counts alike in a cosine.
    """

    values: Floats
    stride: tuple[float, float]
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or sum(self.blocks) != len(self.values) or min(self.stride) <= 0:
            raise ValueError(f"features {self.values.shape} in blocks {self.blocks} with stride {self.stride}")

    def cells(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Cell of every pixel of a photo (H,W), flattened: int64 (H·W,)."""
        height, width = self.values.shape[1:]
        rows = np.minimum((np.arange(shape[0]) / self.stride[0]).astype(np.int64), height - 1)
        columns = np.minimum((np.arange(shape[1]) / self.stride[1]).astype(np.int64), width - 1)
        return (rows[:, None] * width + columns).ravel()


def pooled(
    features: Features, segment: NDArray[np.integer], pixel: NDArray[np.integer], count: int, shape: tuple[int, int]
) -> Floats:
    """Mean features of segments of pixels, normalised: float32 (count, C).

    segment, pixel: pairs (segment 0..count-1, position in the flattened photo). Every block of a row has the length
    1 / sqrt(blocks), so that a row has length 1; a block without any feature is 0.
    """
    from scipy.sparse import csr_array

    cells = features.cells(shape)[pixel]
    flat = features.values.reshape(len(features.values), -1).T
    shared = csr_array((np.ones(len(cells), np.float32), (segment, cells)), shape=(count, len(flat)))
    sums = np.asarray(shared @ np.ascontiguousarray(flat), np.float32)
    return unit(sums, features.blocks)


def unit(rows: Floats, blocks: Sequence[int]) -> Floats:
    """Rows (n,C) whose blocks have the length 1 / sqrt(blocks) each, or 0."""
    parts = np.split(rows, np.cumsum(blocks)[:-1], axis=1)
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    scaled = [
        np.divide(part, length, out=np.zeros_like(part), where=length > 0)
        for part, length in zip(parts, lengths, strict=True)
    ]
    return np.asarray(np.concatenate(scaled, axis=1) / np.sqrt(len(blocks)), np.float32)


@dataclass(frozen=True)
class Entries:
    """What one photo gives to a bank: vectors float32 (n,C) and their label values uint8 (n,)."""

    vectors: Floats
    values: NDArray[np.uint8]


def entries_of(features: Features, regions: Regions, labels: NDArray[np.uint8], settings: BankSettings) -> Entries:
    """The entries of a photo with a label map, uint8 (H,W): 0 background, class k as k + 1, 255 left out."""
    kept = eroded(labels, settings.erosion) if settings.erosion > 0 else labels
    levels = (
        regions.levels if settings.entries == "regions" else (level_of_segments(np.zeros(regions.shape, np.uint8)),)
    )
    parts = [_level_entries(features, level, labels.ravel(), kept.ravel(), regions.shape, settings) for level in levels]
    return Entries(np.concatenate([one.vectors for one in parts]), np.concatenate([one.values for one in parts]))


def _level_entries(
    features: Features,
    level: Level,
    labels: NDArray[np.uint8],
    kept: NDArray[np.uint8],
    shape: tuple[int, int],
    settings: BankSettings,
) -> Entries:
    pixel, region = level.pixels()
    counts = np.bincount(region * 256 + labels[pixel], minlength=len(level) * 256).reshape(-1, 256)
    counts[:, IGNORE] = 0
    chosen = counts > 0
    if settings.entries == "regions":
        best = counts.argmax(axis=1)
        pure = counts[np.arange(len(level)), best] >= np.maximum(1, settings.purity * level.areas)
        chosen = np.zeros_like(chosen)
        chosen[np.arange(len(level))[pure], best[pure]] = True
    number = np.full(chosen.shape, -1)
    number[chosen] = np.arange(chosen.sum())
    segment = number[region, kept[pixel]]
    inside = (segment >= 0) & (kept[pixel] != IGNORE)
    vectors = pooled(features, segment[inside], pixel[inside], int(chosen.sum()), shape)
    present = np.bincount(segment[inside], minlength=int(chosen.sum())) > 0
    return Entries(vectors[present], np.nonzero(chosen)[1].astype(np.uint8)[present])


def eroded(labels: NDArray[np.uint8], depth: float) -> NDArray[np.uint8]:
    """A label map (H,W) with 255 wherever another label or 255 is nearer than `depth` times the longer side.

    Chessboard distance, so one pixel deep is one erosion by 3 x 3; the photo's own border does not count as an edge. A
    label that would vanish keeps the pixels that lie at least half as deep as its deepest.
    """
    from scipy.ndimage import distance_transform_cdt

    pixels = round(depth * max(labels.shape))
    result = np.full_like(labels, IGNORE)
    for value in np.unique(labels[labels != IGNORE]):
        mask = labels == value
        if mask.all():
            return labels
        distance = distance_transform_cdt(np.pad(mask, 1, mode="edge"), metric="chessboard")[1:-1, 1:-1]
        deepest = int(distance[mask].max())
        core = distance > pixels if deepest > pixels else distance >= (deepest + 1) // 2
        result[mask & core] = value
    return result


@dataclass(frozen=True)
class RegionBank:
    """Entries of many photos.

    vectors: float32 (N,C), of length 1. values: uint8 (N,), label values. photos: int64 (N,), the number of the photo
    that an entry comes from.
    """

    vectors: Floats
    values: NDArray[np.uint8]
    photos: NDArray[np.int64]
    settings: BankSettings

    @classmethod
    def fit(cls, entries: Iterable[Entries], settings: BankSettings, *, seed: int = 0) -> RegionBank:
        """A bank of the entries of photos 0, 1, ... in this order. Raises UserError where there are none."""
        sample = _Sample(settings, seed=seed)
        for one in entries:
            sample.add(one)
        vectors, values, photos = sample.result()
        if not len(values):
            raise UserError("no region has a label, so there is nothing to compare with; label some photos first")
        kept = [
            _purged(vectors, np.flatnonzero(values == value), settings.purge if value else 0.0)[: settings.most]
            for value in np.unique(values)
        ]
        order = np.sort(np.concatenate(kept))
        return cls(vectors[order], values[order], photos[order], settings)

    def vote(self, vectors: Floats, *, tags: Sequence[int] | None, without: int | None = None) -> Floats:
        """Shares of the votes, float32 (V,R), for regions (R,C) of one photo: background, then the candidates.

        tags: class indices that may be given; None: all that the bank has, ascending (`candidates`). without: a photo
        whose own entries do not vote. A region for which no entry may vote is background. Votes count alike; among
        equals the value of the nearer entries is ahead by less than a vote.
        """
        values = self.candidates(tags)
        allowed = np.isin(self.values, values)
        if without is not None:
            allowed &= self.photos != without
        shares = np.zeros((len(values), len(vectors)), np.float32)
        if not allowed.any():
            shares[0] = 1
            return shares
        place = np.searchsorted(values, self.values[allowed])
        similarity = vectors @ self.vectors[allowed].T
        count = min(self.settings.neighbours, similarity.shape[1])
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        closeness = np.take_along_axis(similarity, nearest, axis=1)
        # A vote is 1 and a little for nearness, which decides between equals and never against a vote.
        weights = 1 + (closeness.clip(-1, 1) + 1) / 2 / (count + 1)
        rows = np.repeat(np.arange(len(vectors)), count)
        np.add.at(shares, (place[nearest].ravel(), rows), weights.ravel().astype(np.float32))
        return shares / shares.sum(axis=0)

    def candidates(self, tags: Sequence[int] | None) -> NDArray[np.uint8]:
        """The label values that may be given, ascending, 0 first: uint8 (V,)."""
        values = np.unique(self.values) if tags is None else np.array([tag + 1 for tag in tags], np.uint8)
        return np.union1d(np.zeros(1, np.uint8), values).astype(np.uint8)

    def label(
        self,
        features: Features,
        regions: Regions,
        *,
        tags: Sequence[int] | None,
        without: int | None = None,
        combine: Literal["average", "paint"] = "average",
    ) -> Scored:
        """Labels of a photo of the size of `regions`, and the shares of votes that speak for them."""
        shares = []
        for level in regions.levels:
            pixel, region = level.pixels()
            vectors = pooled(features, region, pixel, len(level), regions.shape)
            shares.append(self.vote(vectors, tags=tags, without=without))
        scores = (painted_scores if combine == "paint" else average_scores)(regions, shares)
        values = self.candidates(tags)
        return Scored(values, scores, values[scores.argmax(axis=0)])


def _purged(vectors: Floats, rows: NDArray[np.intp], share: float) -> NDArray[np.intp]:
    """`rows` without the given share, those whose vectors point farthest from their mean."""
    if share <= 0 or len(rows) < 2:
        return rows
    mean = vectors[rows].mean(axis=0)
    order = np.argsort(-(vectors[rows] @ mean), kind="stable")
    return rows[order[: len(rows) - int(share * len(rows))]]


class _Sample:
    """Entries of one photo after another, of each value at most so many, all of equal chance: those of the smallest
    random numbers. So memory does not grow with the photos."""

    def __init__(self, settings: BankSettings, *, seed: int) -> None:
        self._random = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        self._limits = np.full(256, math.ceil(settings.most / (1 - settings.purge)))  # what is purged comes on top
        self._limits[0] = settings.most
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._counts = np.zeros(256, np.int64)
        self._photos = 0

    def add(self, one: Entries) -> None:
        """The next photo's."""
        count = len(one.values)
        self._parts.append((one.vectors, one.values, np.full(count, self._photos), self._random.random(count)))
        self._photos += 1
        self._counts += np.bincount(one.values, minlength=256)
        if (self._counts > 2 * self._limits).any():
            self._reduce()

    def _reduce(self) -> None:
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        values, numbers = columns[1], columns[3]
        chosen = []
        for value in np.unique(values):
            rows, limit = np.flatnonzero(values == value), self._limits[value]
            chosen.append(rows if len(rows) <= limit else rows[np.argpartition(numbers[rows], limit)[:limit]])
        order = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.intp)
        self._parts = [tuple(column[order] for column in columns)]
        self._counts = np.bincount(values[order], minlength=256)

    def result(self) -> tuple[Floats, NDArray[np.uint8], NDArray[np.int64]]:
        """Vectors, values and photos, in the order of the photos."""
        if not self._parts:
            return np.zeros((0, 0), np.float32), np.zeros(0, np.uint8), np.zeros(0, np.int64)
        self._reduce()
        vectors, values, photos, _ = self._parts[0]
        return vectors, values, photos
