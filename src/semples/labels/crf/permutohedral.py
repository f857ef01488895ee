"""Gaussian filtering of many channels at once on the permutohedral lattice (Adams, Baek & Davis 2010), in torch.

A Gaussian kernel over N points with d features each is K = slice . blur . splat, three sparse matrices. All three are
held as indices and weights and applied by `embedding_bag`, a weighted sum of rows, so the same code runs on CPU and GPU
and the lattice, built once, serves any number of channels and iterations.

Each of the N points lies in a simplex of the lattice with d+1 corners. Splat adds a point's values to its corners with
barycentric weights, blur runs (1/2, 1, 1/2) along each of the d+1 axes of the lattice, slice reads the corners back
with the same weights. Lattice points that touch no input point do not exist and count as 0. The arithmetic that picks
simplex and corners is float32 in a fixed order, because a rounding there moves a point to other corners.

Shapes: d features, N input points, M lattice points, E = (d+1)N corners, C channels. Lattice point M means "missing".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from semples.core.errors import UserError

MAX_CODE_BITS = 62  # a lattice point's coordinates are packed into one int64
NORMALISER_FLOOR = 1e-20  # added to K 1 before its inverse square root
SIZES_KEPT = 8  # photo sizes whose position lattice is kept for the next photos


@dataclass(frozen=True)
class Lattice:
    """The three sparse steps of one kernel. Indices are int32, weights of one floating dtype.

    splat_pixel, splat_weight (E,): input points and weights, grouped by lattice point; splat_start (M+1,): where groups
    start. blur_point (d+1,M+1,3): per axis each lattice point and its two neighbours; blur_weight (M+1,3): 1, 1/2, 1/2.
    slice_point, slice_weight (N,d+1): corners of each input point.
    """

    splat_pixel: Tensor
    splat_start: Tensor
    splat_weight: Tensor
    blur_point: Tensor
    blur_weight: Tensor
    slice_point: Tensor
    slice_weight: Tensor

    def filter(self, values: Tensor) -> Tensor:
        """K applied to values (N,C) of the weights' dtype; (N,C)."""
        points = embedding_bag(
            self.splat_pixel, values, self.splat_start, mode="sum", per_sample_weights=self.splat_weight
        )
        for neighbours in self.blur_point:
            points = embedding_bag(neighbours, points, mode="sum", per_sample_weights=self.blur_weight)
        return embedding_bag(self.slice_point, points, mode="sum", per_sample_weights=self.slice_weight)

    def scaled(self, *, before: Tensor, after: Tensor) -> Lattice:
        """The kernel diag(after) K diag(before), both (N,), at no cost per use."""
        return replace(
            self,
            splat_weight=self.splat_weight * before.index_select(0, self.splat_pixel),
            slice_weight=self.slice_weight * after[:, None],
        )

    def to(self, dtype: torch.dtype) -> Lattice:
        """The same kernel with weights of another dtype."""
        return replace(
            self,
            splat_weight=self.splat_weight.to(dtype),
            blur_weight=self.blur_weight.to(dtype),
            slice_weight=self.slice_weight.to(dtype),
        )


def build_lattice(features: Tensor) -> Lattice:
    """The lattice of unit-variance Gaussians over features (d,N) float32, on their device.

    Raises UserError where the features span so many standard deviations that lattice coordinates cannot be numbered.
    """
    offsets, corner, rank = _enclosing_simplex(features)
    d, n = features.shape
    barycentric = _by_rank(offsets, rank)
    weights = torch.empty(n, d + 1, device=features.device)
    weights[:, 0] = barycentric[d] + (1 - barycentric[0])
    for r in range(1, d + 1):
        torch.sub(barycentric[d - r], barycentric[d - r + 1], out=weights[:, r])

    codes, axis_steps = _corner_codes(corner, rank)
    # Corners are numbered in steps of a power of two per point, so that a point is found by a shift, not a division.
    shift = d.bit_length()
    padded = torch.zeros(n, 1 << shift, device=features.device)
    padded[:, : d + 1] = weights
    slots = torch.arange(n, device=features.device)[:, None] * (1 << shift) + torch.arange(
        d + 1, device=features.device
    )
    ordered, slots = _sort_pairs(codes.reshape(-1), slots.reshape(-1), slot_bits=(n << shift).bit_length())

    first = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    starts = first.nonzero().reshape(-1)
    point_of_slot = torch.empty(n << shift, dtype=torch.int32, device=features.device)
    point_of_slot.scatter_(0, slots, first.cumsum(0, dtype=torch.int32) - 1)
    blur_point = _neighbours(ordered.index_select(0, starts), axis_steps)
    return Lattice(
        splat_pixel=(slots >> shift).to(torch.int32),
        splat_start=torch.cat([starts, starts.new_tensor([len(slots)])]).to(torch.int32),
        splat_weight=padded.reshape(-1).index_select(0, slots),
        blur_point=blur_point,
        blur_weight=weights.new_tensor([[1, 0.5, 0.5]]).repeat(blur_point.shape[1], 1),
        slice_point=point_of_slot.reshape(n, -1)[:, : d + 1].contiguous(),
        slice_weight=weights * (1 / (1 + 2.0**-d)),
    )


def join_lattices(lattices: Sequence[Lattice]) -> Lattice:
    """One lattice that filters the concatenation of several inputs, each by itself. All have the same d and dtype."""
    if len(lattices) == 1:
        return lattices[0]
    pixels = _offsets([len(lattice.slice_point) for lattice in lattices])
    corners = _offsets([len(lattice.splat_pixel) for lattice in lattices])
    points = _offsets([len(lattice.splat_start) for lattice in lattices])
    return Lattice(
        splat_pixel=torch.cat([a.splat_pixel + k for a, k in zip(lattices, pixels, strict=True)]),
        splat_start=torch.cat([a.splat_start + k for a, k in zip(lattices, corners, strict=True)]),
        splat_weight=torch.cat([a.splat_weight for a in lattices]),
        blur_point=torch.cat([a.blur_point + k for a, k in zip(lattices, points, strict=True)], dim=1),
        blur_weight=torch.cat([a.blur_weight for a in lattices]),
        slice_point=torch.cat([a.slice_point + k for a, k in zip(lattices, points, strict=True)]),
        slice_weight=torch.cat([a.slice_weight for a in lattices]),
    )


def elevation_scales(d: int) -> list[float]:
    """Factors of the features before they are lifted onto the lattice's plane, so that the blur has variance 1."""
    deviation = float(np.float32(math.sqrt(2 / 3) * (d + 1)))
    return [float(np.float32(deviation / math.sqrt((j + 1) * j))) for j in range(1, d + 1)]


def _enclosing_simplex(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each point lies: its offset from corner 0 of its simplex in units of d+1, float32 (d+1,N); that corner in
    units of d+1, float32 (d+1,N) with whole numbers; and the rank of each offset, largest first, int8 (d+1,N).
    """
    d, n = features.shape
    lifted = torch.empty(d + 1, n, device=features.device)
    total = torch.zeros(n, device=features.device)
    for j, scale in zip(range(d, 0, -1), reversed(elevation_scales(d)), strict=True):
        scaled = features[j - 1] * scale
        torch.sub(total, scaled * j, out=lifted[j])
        total = total + scaled
    lifted[0] = total

    corner = torch.round(lifted * (1 / (d + 1)))  # to nearest even
    surplus = corner.sum(0).to(torch.int8)
    offsets = lifted.sub_(corner * (d + 1))
    rank = torch.zeros(d + 1, n, dtype=torch.int8, device=features.device)
    for i in range(d + 1):
        for j in range(i + 1, d + 1):
            smaller = (offsets[i] < offsets[j]).to(torch.int8)
            rank[i] += smaller
            rank[j] += 1 - smaller
    # Rounding each coordinate by itself may leave the plane; the coordinates of extreme rank step back onto it.
    rank += surplus
    step = (rank < 0).to(torch.int8) - (rank > d).to(torch.int8)
    rank += step * (d + 1)
    corner += step
    offsets -= step * (d + 1)
    return offsets.mul_(1 / (d + 1)), corner, rank


def _by_rank(values: Tensor, rank: Tensor) -> Tensor:
    """Each column of (d+1,N) rearranged so that row r holds the value of rank r."""
    return torch.empty_like(values).scatter_(0, rank.to(torch.int64), values)


def _corner_codes(corner: Tensor, rank: Tensor) -> tuple[Tensor, list[int]]:
    """One number per lattice point: codes of all corners, int64 (N,d+1), and the step of the code along each axis.

    A lattice point is given by its first d coordinates, packed in mixed radix. Corner r+1 follows from corner r by
    adding 1 to every coordinate and taking d+1 from the coordinate of rank d-r; the same steps lead to the neighbours
    in the blur.
    """
    d = len(corner) - 1
    low = corner[:d].amin(1).to(torch.int64) - 2  # room for corners and neighbours
    high = corner[:d].amax(1).to(torch.int64) + 2
    spans = [span * (d + 1) for span in (high - low + 1).tolist()]
    if math.prod(spans).bit_length() > MAX_CODE_BITS:
        raise UserError(
            "the CRF's widths are too small for a photo of this size; raise sxy_gaussian, sxy_bilateral or srgb"
        )
    strides = [math.prod(spans[axis + 1 :]) for axis in range(d)] + [0]
    axis_steps = [sum(strides) - (d + 1) * stride for stride in strides]

    code = torch.zeros(corner.shape[1], dtype=torch.int64, device=corner.device)
    for axis in range(d):
        code += (corner[axis].to(torch.int64) - low[axis]) * ((d + 1) * strides[axis])
    step_of_rank = _by_rank(torch.tensor(axis_steps, device=corner.device)[:, None].expand(corner.shape), rank)
    codes = torch.empty(corner.shape[1], d + 1, dtype=torch.int64, device=corner.device)
    for r in range(d + 1):
        codes[:, r] = code
        code = code + step_of_rank[d - r]
    return codes, axis_steps


def _sort_pairs(codes: Tensor, slots: Tensor, *, slot_bits: int) -> tuple[Tensor, Tensor]:
    """Codes in ascending order and their slots, ascending within equal codes."""
    if codes.device.type == "cpu" and int(codes.max()).bit_length() + slot_bits <= 63:
        packed = np.sort(((codes << slot_bits) | slots).numpy())  # vectorised, several times faster than sorting pairs
        both = torch.from_numpy(packed)
        return both >> slot_bits, both & ((1 << slot_bits) - 1)
    ordered, order = torch.sort(codes, stable=True)
    return ordered, slots.index_select(0, order)


def _neighbours(points: Tensor, axis_steps: list[int]) -> Tensor:
    """`Lattice.blur_point` of lattice points given by ascending codes (M,)."""
    m = len(points)
    table = torch.full((len(axis_steps), m + 1, 3), m, dtype=torch.int32, device=points.device)
    table[:, :, 0] = torch.arange(m + 1, device=points.device)
    for axis, step in enumerate(axis_steps):
        wanted = points + step
        place = _first_not_below(points, wanted).clamp_(max=m - 1)
        here = (points.index_select(0, place) == wanted).nonzero().reshape(-1)
        there = place.index_select(0, here)
        table[axis, :, 1].scatter_(0, here, there.to(torch.int32))
        table[axis, :, 2].scatter_(0, there, here.to(torch.int32))
    return table


def _first_not_below(points: Tensor, wanted: Tensor) -> Tensor:
    if points.device.type == "cpu":  # NumPy profits from `wanted` being ascending
        return torch.from_numpy(np.searchsorted(points.numpy(), wanted.numpy()))
    return torch.searchsorted(points, wanted)


def _offsets(lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[:i]) for i in range(len(lengths))]
