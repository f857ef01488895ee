"""Mean field of the dense CRF, compiled by numba. Use it through `semples.labels.crf.dense.DenseCrf`.

The lattice and steps of `permutohedral` and `lattice_torch`, which explain them, as loops in place of sparse matrices.
Functions release the interpreter lock, are"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from semples.core.errors import UserError
from semples.labels.crf.permutohedral import MAX_CODE_BITS, NORMALISER_FLOOR, SIZES_KEPT, elevation_scales

if TYPE_CHECKING:
    from semples.recipe import CrfSettings

Floats = NDArray[np.float32]
Points = NDArray[np.uint32]

BLOCK = 4
CHUNK = 128  # pixels whose softmax is taken together

# Picking lattice points must round as the definition says; filtering may reorder sums.
exact = njit(cache=True, nogil=True, error_model="numpy")
fast = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "arcp", "reassoc"})


class Kernel(NamedTuple):
    """diag(s) K diag(s) over N pixels and M lattice points; point M stands for missing neighbours and holds 0.

    corners, weights (N,d+1): lattice points of each pixel and barycentric weights times s; neighbours (d+1,M,2);
    reach (N,): weight * kernel applied to 1. `weight` (with the blur's constant factor) multiplies what is sliced.
    """

    corners: Points
    weights: Floats
    neighbours: Points
    weight: np.float32
    reach: Floats


class NumbaMeanField:
    """See `semples.labels.crf.dense.DenseCrf`. float32, CPU."""

    def __init__(self, settings: CrfSettings) -> None:
        self.settings = settings
        self._position_kernel = lru_cache(maxsize=SIZES_KEPT)(self._build_position_kernel)
        with _vectorised():  # compiles, or loads what is on disk
            self.marginals([torch.zeros(1, 1, 3, dtype=torch.uint8)], [torch.zeros(2, 1, 1)])

    def marginals(self, photos: Sequence[Tensor], unaries: Sequence[Tensor]) -> list[Tensor]:
        """Probabilities (n,H,W) float32 of photos uint8 (H,W,3) from unaries float32 (n,H,W), n >= 2."""
        answers = []
        for i, (photo, unary) in enumerate(zip(photos, unaries, strict=True)):
            if i == 0 or photo is not photos[i - 1]:
                alike = self._colour_kernel(photo.numpy())
            answers.append(self._one(photo.shape[0], photo.shape[1], alike, unary))
        return answers

    def _one(self, height: int, width: int, alike: Kernel, unary: Tensor) -> Tensor:
        near = self._position_kernel(height, width)
        pixels = height * width
        padding = (0, -pixels % CHUNK)
        energies = np.pad(unary.reshape(len(unary), -1).numpy(), ((0, 0), padding))
        reach = np.pad(near.reach + alike.reach, padding)
        _mean_field(near, alike, reach, energies, self.settings.iterations)
        return torch.from_numpy(energies[:, :pixels]).reshape(unary.shape)

    def _colour_kernel(self, photo: NDArray[np.uint8]) -> Kernel:
        positions = _positions(photo.shape[0], photo.shape[1], self.settings.sxy_bilateral)
        colours = photo.reshape(-1, 3) / np.float32(self.settings.srgb)
        return _kernel(np.concatenate([positions, colours], axis=1), self.settings.weight_bilateral)

    def _build_position_kernel(self, height: int, width: int) -> Kernel:
        return _kernel(_positions(height, width, self.settings.sxy_gaussian), self.settings.weight_gaussian)


def _positions(height: int, width: int, deviation: float) -> Floats:
    """x and y of every pixel in standard deviations, float32 (H*W,2)."""
    x = np.arange(width, dtype=np.float32) / np.float32(deviation)
    y = np.arange(height, dtype=np.float32) / np.float32(deviation)
    return np.stack([np.tile(x, height), np.repeat(y, width)], axis=1)


def _kernel(features: Floats, weight: float) -> Kernel:
    """The symmetrically normalised kernel over features (N,d)."""
    n, d = features.shape
    scales = np.array(elevation_scales(d), np.float32)
    low, strides = _code_layout([float(column.max()) * scale for column, scale in zip(features.T, scales, strict=True)])
    corners = np.empty((n, d + 1), np.uint32)
    weights = np.empty((n, d + 1), np.float32)
    codes = _find_corners(features, scales, low, strides, corners, weights)
    order = np.argsort(codes)
    place = np.empty(len(codes), np.uint32)
    place[order] = np.arange(len(codes), dtype=np.uint32)
    _renumber(corners, place)
    neighbours = _find_neighbours(codes[order], strides)
    gain = 1 / (1 + 2.0**-d)  # of the blur
    kernel = Kernel(corners, weights, neighbours, np.float32(weight * gain), np.zeros(n, np.float32))
    _normalise(kernel, np.float32(gain))
    return kernel


def _code_layout(most: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How d coordinates are packed into one int64: the smallest coordinate and the stride of each axis.

    `most`: the largest value of each feature times its scale; the smallest is 0. Coordinate `axis` is the sum of the
    features from `axis` on minus `axis` times the one before.
    """
    d = len(most)
    low = [-math.floor(axis * most[axis - 1] / (d + 1)) - 4 for axis in range(d)]
    spans = [(math.ceil(sum(most[axis:]) / (d + 1)) + 4 - low[axis]) * (d + 1) for axis in range(d)]
    if math.prod(spans).bit_length() > MAX_CODE_BITS:
        raise UserError(
            "the CRF's widths are too small for a photo of this size; raise sxy_gaussian, sxy_bilateral or srgb"
        )
    strides = [math.prod(spans[axis + 1 :]) for axis in range(d)]
    return np.array(low, np.int64) * (d + 1), np.array(strides, np.int64)


@contextmanager
def _vectorised() -> Iterator[None]:
    """While this is open, numba compiles four neighbouring scalars into one vector, which it leaves off by default."""
    config: Any = numba.config
    before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1
    try:
        yield
    finally:
        config.SLP_VECTORIZE = before


@exact
def _slot(table, codes, code):
    """Where the point with `code` is or belongs in a hash table of points; its size is a power of two, -1 is free."""
    mask = len(table) - 1
    slot = ((code * np.int64(-7046029254386353131)) >> np.int64(20)) & mask
    while table[slot] >= 0 and codes[table[slot]] != code:
        slot = (slot + 1) & mask
    return slot


@exact
def _find_corners(features, scales, low, strides, corners, weights):
    """Fill `corners`, `weights` (N,d+1); return the codes of the lattice points in the order they were met."""
    n, d = features.shape
    table, codes, count = np.full(1 << 16, -1, np.int32), np.empty(1 << 15, np.int64), 0
    all_axes = strides.sum()
    one, side, inverse = np.float32(1), np.float32(d + 1), np.float32(1 / (d + 1))
    offset, by_rank = np.empty(d + 1, np.float32), np.empty(d + 1, np.float32)
    corner, rank, steps = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    for p in range(n):
        total = np.float32(0)
        for j in range(d, 0, -1):
            scaled = features[p, j - 1] * scales[j - 1]
            offset[j] = total - np.float32(j) * scaled
            total += scaled
        offset[0] = total
        surplus = 0
        for i in range(d + 1):
            rounded = np.rint(offset[i] * inverse)
            offset[i] -= rounded * side
            corner[i] = np.int64(rounded)
            surplus += corner[i]
            rank[i] = 0
        for i in range(d):
            for j in range(i + 1, d + 1):
                smaller = np.int64(offset[i] < offset[j])
                rank[i] += smaller
                rank[j] += 1 - smaller
        code = np.int64(0)
        for i in range(d + 1):
            place = rank[i] + surplus
            step = np.int64(place < 0) - np.int64(place > d)
            place += step * (d + 1)
            by_rank[place] = (offset[i] - np.float32(step) * side) * inverse
            steps[place] = all_axes
            if i < d:
                code += ((corner[i] + step) * (d + 1) - low[i]) * strides[i]
                steps[place] -= (d + 1) * strides[i]
        weights[p, 0] = by_rank[d] + (one - by_rank[0])
        for r in range(d + 1):
            if r > 0:
                weights[p, r] = by_rank[d - r] - by_rank[d - r + 1]
                code += steps[d - r + 1]
            if p > 0 and codes[corners[p - 1, r]] == code:  # as for the pixel before: the usual case
                corners[p, r] = corners[p - 1, r]
                continue
            slot = _slot(table, codes, code)
            if table[slot] < 0:
                table[slot], codes[count] = count, code
                count += 1
            corners[p, r] = table[slot]
            if count == len(codes):
                codes = np.concatenate((codes, np.empty_like(codes)))
                table = np.full(2 * len(table), -1, np.int32)
                for point in range(count):
                    table[_slot(table, codes, codes[point])] = point
    return codes[:count].copy()


@exact
def _renumber(corners, place):
    for p in range(corners.shape[0]):
        for r in range(corners.shape[1]):
            corners[p, r] = place[corners[p, r]]


@exact
def _find_neighbours(codes, strides):
    """Both neighbours along each axis, uint32 (d+1,M,2), of lattice points with ascending codes: a merge per axis."""
    m, d = len(codes), len(strides)
    neighbours = np.full((d + 1, m, 2), m, np.uint32)
    for axis in range(d + 1):
        step = strides.sum()
        if axis < d:
            step -= (d + 1) * strides[axis]
        k = 0
        for i in range(m):
            while k < m and codes[k] < codes[i] + step:
                k += 1
            if k == m:
                break
            if codes[k] == codes[i] + step:
                neighbours[axis, i, 0] = k
                neighbours[axis, k, 1] = i
    return neighbours


@fast
def _splat(values, corners, weights, points):
    """points (M+1,4) = splat of values (N,4)."""
    points[:] = 0
    for p in range(corners.shape[0]):
        a, b, c, d = values[p, 0], values[p, 1], values[p, 2], values[p, 3]
        for r in range(corners.shape[1]):
            i, w = corners[p, r], weights[p, r]
            e, f, g, h = points[i, 0] + w * a, points[i, 1] + w * b, points[i, 2] + w * c, points[i, 3] + w * d
            points[i, 0], points[i, 1], points[i, 2], points[i, 3] = e, f, g, h


@fast
def _blur_axis(points, neighbours, blurred):
    half = np.float32(0.5)
    for i in range(neighbours.shape[0]):
        j, k = neighbours[i, 0], neighbours[i, 1]
        a = points[i, 0] + half * (points[j, 0] + points[k, 0])
        b = points[i, 1] + half * (points[j, 1] + points[k, 1])
        c = points[i, 2] + half * (points[j, 2] + points[k, 2])
        d = points[i, 3] + half * (points[j, 3] + points[k, 3])
        blurred[i, 0], blurred[i, 1], blurred[i, 2], blurred[i, 3] = a, b, c, d


@fast
def _splat_and_blur(values, kernel, points, spare):
    """Lattice values (M+1,4) of values (N,4); the result is in `points` or `spare`, whichever is returned."""
    _splat(values, kernel.corners, kernel.weights, points)
    spare[-1] = 0
    for axis in range(len(kernel.neighbours)):
        _blur_axis(points, kernel.neighbours[axis], spare)
        points, spare = spare, points
    return points


@fast
def _normalise(kernel, gain):
    """Turn the weights of a plain kernel K into those of diag(s) K diag(s), s = 1/sqrt(K 1), and set `reach`."""
    n, sides = kernel.corners.shape
    ones = np.ones((n, BLOCK), np.float32)
    m = kernel.neighbours.shape[1]
    points, spare = np.empty((m + 1, BLOCK), np.float32), np.empty((m + 1, BLOCK), np.float32)
    for turn in range(2):
        blurred = _splat_and_blur(ones, kernel, points, spare)
        for p in range(n):
            total = np.float32(0)
            for r in range(sides):
                total += kernel.weights[p, r] * blurred[kernel.corners[p, r], 0]
            if turn == 0:
                kernel.reach[p] = np.float32(1) / np.sqrt(total * gain + np.float32(NORMALISER_FLOOR))
            else:
                kernel.reach[p] = total * kernel.weight
        if turn == 0:
            for p in range(n):
                for r in range(sides):
                    kernel.weights[p, r] *= kernel.reach[p]


@fast
def _softmax(logits):
    """Softmax over the rows of logits (n,CHUNK), in place."""
    n = len(logits)
    whole, power = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.float32)
    power_bits = power.view(np.int32)
    largest, total = logits[0].copy(), np.zeros(CHUNK, np.float32)
    for label in range(1, n):
        row = logits[label]
        for p in range(CHUNK):
            largest[p] = max(largest[p], row[p])
    for label in range(n):
        row = logits[label]
        for p in range(CHUNK):  # e^x = 2^whole * 2^part with |part| <= 1/2, where the polynomial is exact to float32
            x = max(row[p] - largest[p], np.float32(-87)) * np.float32(1.4426950408889634)
            nearest = np.rint(x)
            whole[p] = np.int32(nearest)
            part = x - nearest
            high = np.float32(0.00961813) + part * (np.float32(0.00133336) + part * np.float32(0.00015403))
            high = np.float32(0.24022651) + part * (np.float32(0.05550411) + part * high)
            power[p] = np.float32(1) + part * (np.float32(0.6931472) + part * high)
        for p in range(CHUNK):
            power_bits[p] += whole[p] << 23
        for p in range(CHUNK):
            row[p] = power[p]
            total[p] += power[p]
    total[:] = np.float32(1) / total
    for label in range(n):
        logits[label] *= total


@fast
def _slice(near, near_points, alike, alike_points, messages):
    """messages (4,N): both kernels read back from their lattices, weighted and added."""
    for p in range(near.corners.shape[0]):
        a = b = c = d = np.float32(0)
        for r in range(3):
            i, w = near.corners[p, r], near.weights[p, r] * near.weight
            a += w * near_points[i, 0]
            b += w * near_points[i, 1]
            c += w * near_points[i, 2]
            d += w * near_points[i, 3]
        for r in range(6):
            i, w = alike.corners[p, r], alike.weights[p, r] * alike.weight
            a += w * alike_points[i, 0]
            b += w * alike_points[i, 1]
            c += w * alike_points[i, 2]
            d += w * alike_points[i, 3]
        messages[0, p], messages[1, p], messages[2, p], messages[3, p] = a, b, c, d


@fast
def _update(messages, reach, unary, logits, first):
    """Fill logits (n,CHUNK) with the probabilities of the pixels from `first` on that follow from messages (>= n-1,N).

    Label 0 has no message of its own: it gets what `reach` leaves.
    """
    last = first + CHUNK
    rest = logits[0]
    rest[:] = reach[first:last] - unary[0, first:last]
    for label in range(1, len(unary)):
        message, energy, row = messages[label - 1, first:last], unary[label, first:last], logits[label]
        for p in range(CHUNK):
            rest[p] -= message[p]
        for p in range(CHUNK):
            row[p] = message[p] - energy[p]
    _softmax(logits)


@fast
def _interleave(rows, first, values):
    """values (blocks,N,4) from `first` on = rows (4*blocks,CHUNK)."""
    for block in range(len(values)):
        a, b, c, d = rows[4 * block], rows[4 * block + 1], rows[4 * block + 2], rows[4 * block + 3]
        for p in range(CHUNK):
            e, f, g, h = a[p], b[p], c[p], d[p]
            q = first + p
            values[block, q, 0], values[block, q, 1], values[block, q, 2], values[block, q, 3] = e, f, g, h


@fast
def _mean_field(near, alike, reach, unary, iterations):
    """Turn unary energies (n,N) into probabilities, in place. N is padded to a multiple of CHUNK, as is reach (N,)."""
    n, pixels = unary.shape
    blocks = (n - 1 + BLOCK - 1) // BLOCK
    values = np.empty((blocks, pixels, BLOCK), np.float32)
    messages = np.zeros((blocks * BLOCK, pixels), np.float32)
    near_points = np.empty((2, near.neighbours.shape[1] + 1, BLOCK), np.float32)
    alike_points = np.empty((2, alike.neighbours.shape[1] + 1, BLOCK), np.float32)
    rows = np.zeros((1 + blocks * BLOCK, CHUNK), np.float32)  # labels, then zeros that fill the last block
    given = np.zeros(pixels, np.float32)  # what the messages of a pixel sum to: nothing at first
    for _ in range(iterations):
        for first in range(0, pixels, CHUNK):
            _update(messages, given, unary, rows[:n], first)
            _interleave(rows[1:], first, values)
        for b in range(blocks):
            near_blurred = _splat_and_blur(values[b], near, near_points[0], near_points[1])
            alike_blurred = _splat_and_blur(values[b], alike, alike_points[0], alike_points[1])
            _slice(near, near_blurred, alike, alike_blurred, messages[b * BLOCK : (b + 1) * BLOCK])
        given = reach
    for first in range(0, pixels, CHUNK):
        _update(messages, given, unary, rows[:n], first)
        unary[:, first : first + CHUNK] = rows[:n]
