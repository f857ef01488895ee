"""Regions of a photo, scored by CAMs and painted to a label map (FMA-WSSS, arXiv 2312.03585, sec. 3).

Regions come in levels, the later ones being the coarser or bigger ones. They may overlap and need not cover the photo.
All are kept as runs of pixels (run-length code over rows), so that scoring and painting cost what the runs cost,
however many regions there are.

Scores, with CAMs clipped at 0: s_kr = mean of CAM k in region r, min-max normalised per class over all regions of the
photo; background b_r = (1 - max_k s_kr)^g; label of a region = the best of b_r and s_kr, its confidence that score.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_file, write_bytes
from semples.core.places import place_of
from semples.labels.scored import Thresholds

TINY = 1e-8  # added to max - min of a class's scores
SUFFIX = ".npz"


@dataclass(frozen=True)
class Level:
    """Some regions of one photo as runs of pixels.

    region: number 0..R-1 of the region that a run belongs to; start: position of its first pixel in the flattened
    photo; length: its pixels. All int32 (runs,), ordered by region, then start; a run stays within one row or goes on
    in the next. quality: how good each region is, float32 (R,) in 0..1.
    """

    region: NDArray[np.int32]
    start: NDArray[np.int32]
    length: NDArray[np.int32]
    quality: NDArray[np.float32]

    def __len__(self) -> int:
        """How many regions there are."""
        return len(self.quality)

    @property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each region, int64 (R,)."""
        return np.bincount(self.region, weights=self.length, minlength=len(self)).astype(np.int64)

    def pixels(self, order: NDArray[np.intp] | None = None) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Every pixel of every region: position in the flattened photo and region, region by region.

        `order`: the numbers of all regions in another order, in which they are to come.
        """
        region, start, length = self.region, self.start, self.length
        if order is not None:
            place = np.empty(len(self), np.intp)
            place[order] = np.arange(len(self))
            runs = np.argsort(place[region], kind="stable")
            region, start, length = region[runs], start[runs], length[runs]
        first = np.cumsum(length, dtype=np.int64) - length
        return np.arange(int(length.sum())) + np.repeat(start - first, length), np.repeat(region, length)

    def means(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean of each map, float32 (p,H,W), inside each region: float32 (p,R)."""
        sums = np.zeros((len(maps), maps[0].size + 1) if len(maps) else (0, 1))
        np.cumsum(maps.reshape(len(maps), -1), axis=1, dtype=np.float64, out=sums[:, 1:])
        inside = sums[:, self.start + self.length] - sums[:, self.start]
        sum_RN = np.empty((len(maps), len(self)))
        for row, values in zip(sum_RN, inside, strict=True):
            row[:] = np.bincount(self.region, weights=values, minlength=len(self))
        return (sum_RN / self.areas).astype(np.float32)


@dataclass(frozen=True)
class Regions:
    """All regions of one photo: `shape` (H,W) and the levels."""

    shape: tuple[int, int]
    levels: tuple[Level, ...]

    def __len__(self) -> int:
        """How many regions there are in all levels."""
        return sum(map(len, self.levels))


def level_of_segments(segments: NDArray[np.integer]) -> Level:
    """The level of a map of segment numbers (H,W), each segment a region of quality 1; numbers may have gaps."""
    flat = np.unique(segments.ravel(), return_inverse=True)[1].reshape(-1)
    start = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    length = np.diff(start, append=flat.size)
    region = flat[start]
    order = np.argsort(region, kind="stable")
    return _level(region[order], start[order], length[order], np.ones(int(flat.max()) + 1))


def level_of_masks(masks: Iterable[NDArray[np.bool_]], quality: Sequence[float]) -> Level:
    """The level of masks, each bool (H,W) with at least one pixel, and their qualities in 0..1; masks may overlap."""
    return level_of_runs([runs_of_mask(mask) for mask in masks], quality)


def runs_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Runs of pixels of a mask (H,W): (runs,2), position of the first and of the one after the last."""
    return np.flatnonzero(np.diff(mask.ravel().astype(np.int8), prepend=0, append=0)).reshape(-1, 2)


def level_of_runs(masks: Sequence[NDArray[np.intp]], quality: Sequence[float]) -> Level:
    """The level of masks given by `runs_of_mask`."""
    counts = [len(runs) for runs in masks]
    if 0 in counts:
        raise ValueError(f"mask {counts.index(0)} is empty")
    runs = np.concatenate([np.zeros((0, 2), np.intp), *masks])
    region = np.repeat(np.arange(len(masks)), counts)
    return _level(region, runs[:, 0], runs[:, 1] - runs[:, 0], np.asarray(quality))


def _level(
    region: NDArray[np.intp], start: NDArray[np.intp], length: NDArray[np.intp], quality: NDArray[np.float64]
) -> Level:
    return Level(region.astype(np.int32), start.astype(np.int32), length.astype(np.int32), quality.astype(np.float32))


# ----------------------------------------------------------------------------------------------------------- scoring


def power_of_threshold(threshold: Thresholds) -> NDArray[np.float64]:
    """The power g with (1 - t)^g = t: background (1 - s)^g beats a score s exactly where s < t."""
    within = np.clip(np.asarray(threshold, np.float64), 1e-6, 1 - 1e-6)
    power: NDArray[np.float64] = np.log(within) / np.log1p(-within)
    return power


def region_scores(
    regions: Regions, maps: NDArray[np.float32], *, power: NDArray[np.float64] | float
) -> list[NDArray[np.float32]]:
    """Scores of background and classes in the regions of each level: float32 (1+p,R) in 0..1, background first.

    `maps`: CAMs, float32 (p,H,W), p >= 1. `power`: g, or one for each class, taken by the region's best class.
    """
    clipped = np.maximum(maps, 0)
    means = [level.means(clipped) for level in regions.levels]
    together = np.concatenate(means, axis=1)
    if not together.size:
        return [np.zeros((1 + len(maps), 0), np.float32) for _ in means]
    low, high = together.min(axis=1, keepdims=True), together.max(axis=1, keepdims=True)
    powers = np.broadcast_to(np.asarray(power, np.float64), (len(maps),))
    scored = []
    for mean in means:
        scores = ((mean - low) / (high - low + TINY)).clip(0, 1)
        background = (1.0 - scores.max(axis=0)) ** powers[scores.argmax(axis=0)]
        scored.append(np.concatenate([background[None].astype(np.float32), scores]))
    return scored


def painted_scores(regions: Regions, scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Scores at every pixel, float32 (1+p,H,W): those of the region that is on top.

    Regions are painted in ascending priority: a higher level over a lower, then a higher confidence (best score) over
    a lower, then a later region over an earlier. A pixel in no region is background with certainty: 1, 0, ..., 0.
    """
    painted = np.zeros((len(scores[0]), math.prod(regions.shape)), np.float32)
    painted[0] = 1
    for level, values in zip(regions.levels, scores, strict=True):
        place, region = level.pixels(np.argsort(values.max(axis=0), kind="stable"))
        top = np.full(painted.shape[1], -1, np.int32)
        top[place] = region  # of equal places the last one stays
        covered = np.flatnonzero(top >= 0)
        painted[:, covered] = values[:, top[covered]]
    return painted.reshape(-1, *regions.shape)


def average_scores(regions: Regions, scores: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Scores at every pixel, float32 (1+p,H,W): the mean over levels of the scores of its region.

    Meant for levels that cover the photo once each. Where regions of a level overlap, their mean stands for the level;
    where a level has none, it says background.
    """
    size = math.prod(regions.shape)
    summed = np.zeros((len(scores[0]), size))
    for level, values in zip(regions.levels, scores, strict=True):
        place, region = level.pixels()
        count = np.bincount(place, minlength=size)
        for row, row_values in zip(summed, values, strict=True):
            row += np.bincount(place, weights=row_values[region], minlength=size) / np.maximum(count, 1)
        summed[0] += count == 0
    return (summed / len(regions.levels)).astype(np.float32).reshape(-1, *regions.shape)


Combine = Literal["paint", "average"]


def pixel_scores(
    regions: Regions, maps: NDArray[np.float32], *, power: NDArray[np.float64] | float, combine: Combine
) -> NDArray[np.float32]:
    """Scores of background and classes at every pixel, float32 (1+p,H,W) in 0..1, from CAMs (p,H,W) and regions."""
    if tuple(maps.shape[1:]) != tuple(regions.shape):
        raise ValueError(f"CAMs of {maps.shape[1:]} do not fit regions of {regions.shape}")
    scores = region_scores(regions, maps, power=power)
    return (painted_scores if combine == "paint" else average_scores)(regions, scores)


# ----------------------------------------------------------------------------------------------------------- storage


def encode_regions(regions: Regions) -> bytes:
    """The bytes of a regions file: a NumPy archive of plain arrays; equal regions give equal bytes.

    layout: int32, height, width, then for each level its numbers of runs and of regions. runs: int32 (3, all runs), the
    differences along the runs of region, start and length. quality: uint8 (all regions), hundredths.
    """
    layout = [*regions.shape, *(count for level in regions.levels for count in (len(level.region), len(level)))]
    runs = [np.stack([level.region, level.start, level.length]) for level in regions.levels]
    joined = np.concatenate([np.zeros((3, 0), np.int32), *runs], axis=1)
    quality = np.concatenate([np.zeros(0), *(level.quality for level in regions.levels)])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        layout=np.array(layout, np.int32),
        runs=np.diff(joined, axis=1, prepend=np.int32(0)),
        quality=np.rint(quality * 100).astype(np.uint8),
    )
    return buffer.getvalue()


def decode_regions(data: bytes) -> Regions:
    """The regions of a file's bytes. Raises ValueError when they are not such a file."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as members:
            layout, runs, quality = members["layout"], members["runs"], members["quality"]
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, AttributeError) as error:
        raise ValueError(f"not a regions file ({error})") from error
    if layout.dtype != np.int32 or layout.ndim != 1 or len(layout) < 2 or len(layout) % 2 or (layout < 0).any():
        raise ValueError("its layout is unknown")
    counts = layout[2:].reshape(-1, 2).astype(np.int64)
    if runs.dtype != np.int32 or runs.shape != (3, counts[:, 0].sum()) or quality.shape != (counts[:, 1].sum(),):
        raise ValueError("its members do not belong together")
    region, start, length = np.cumsum(runs, axis=1, dtype=np.int32)
    height, width = int(layout[0]), int(layout[1])
    if len(start) and (
        (length < 1).any() or start.min() < 0 or (start.astype(np.int64) + length).max() > height * width
    ):
        raise ValueError("a region lies outside the photo")
    levels, first_run, first_region = [], 0, 0
    for run_count, region_count in counts.tolist():
        of_level = slice(first_run, first_run + run_count)
        if not np.array_equal(np.unique(region[of_level]), np.arange(region_count)):
            raise ValueError("a region has no pixels")
        qualities = quality[first_region : first_region + region_count].astype(np.float32) / 100
        levels.append(Level(region[of_level], start[of_level], length[of_level], qualities))
        first_run, first_region = of_level.stop, first_region + region_count
    return Regions((height, width), tuple(levels))


def write_regions(folder: Path, id: str, regions: Regions) -> None:
    """Write one photo's regions to `folder`/ID.npz."""
    write_bytes(place_of(folder, id, SUFFIX), encode_regions(regions))


def read_regions(folder: Path, id: str) -> Regions:
    """One photo's regions. Raises UserError naming a missing or broken file."""
    path = place_of(folder, id, SUFFIX)
    try:
        return decode_regions(read_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make the regions of this photo first (`semples regions RUN`)") from None
    except (ValueError, IndexError, TypeError, OSError, MemoryError) as error:
        raise UserError(
            f"{path}: broken regions file ({error}); delete it, then `semples regions RUN` makes it again"
        ) from None
