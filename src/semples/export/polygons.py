"""Outlines of masks as polygons.

Coordinates are pixels from the photo's upper left corner; a pixel is a square of side 1, so outlines run along pixel
edges, and a pixel belongs to a polygon that holds its centre. Holes become part of the one outline through a cut of no
width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.export.joining import join
from semples.export.regions import Region

Ring = NDArray[np.int64]  # (N, 2): x, y of its corners

AGREEMENT = 0.97  # intersection over union with its mask that a simplified polygon must keep
BESIDE = 0.2  # pixels; programs round corners, pycocotools to fifths of a pixel
FEW, SMALL = 8, 64  # corners and pixels that are not worth a simpler outline
# East, south, west, north, each with the region on its right-hand side.
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def region_polygon(region: Region, *, tolerance: float, inset: float = 0.0) -> NDArray[Any]:
    """The outline of a region in its photo, as one ring (N, 2); see `polygon`."""
    return polygon(region.mask, tolerance=tolerance, inset=inset) + np.array([region.x, region.y])


def polygon(mask: NDArray[np.bool_], *, tolerance: float, inset: float = 0.0) -> NDArray[Any]:
    """The outline of a mask, bool (h, w), that hangs together, as one ring (N, 2) of whole numbers.

    Corners are left out where the outline moves by at most `tolerance` pixels, as long as the polygon covers the mask
    with an intersection over union of 0.97, also where a program places it up to 0.2 pixels beside; 0 gives the mask
    exactly. Outlines of a few corners or pixels are exact. Corners are moved inwards by `inset` pixels in x and y, for
    programs that cut fractions off and draw the outermost pixels too, as OpenCV's fillPoly does.
    """
    rings = trace(mask)
    if sum(map(len, rings)) > FEW and np.count_nonzero(mask) > SMALL:
        for allowed in (tolerance, tolerance / 2):
            simple = [simplify(ring, allowed) for ring in rings] if allowed > 0 else []
            if simple and len(simple[0]) >= 3:
                joined = join([_moved(ring, inset) for ring in simple if len(ring) >= 3])
                if _agrees(joined, mask):
                    return joined
    return join([_moved(ring, inset) for ring in rings])


def _moved(ring: Ring, inset: float) -> NDArray[Any]:
    """A ring with its corners moved to its right-hand side, where the region is, by `inset` in x and y."""
    if not inset:
        return ring
    onward = np.roll(ring, -1, axis=0) - ring
    right = np.stack([-onward[:, 1], onward[:, 0]], axis=1) / np.hypot(*onward.T)[:, None]
    return ring + inset * np.sign(np.round(right + np.roll(right, 1, axis=0), 9))


def _agrees(ring: NDArray[Any], mask: NDArray[np.bool_]) -> bool:
    for shift in (-BESIDE, BESIDE):
        filled = fill(ring + shift, mask.shape)
        if np.count_nonzero(filled & mask) < AGREEMENT * np.count_nonzero(filled | mask):
            return False
    return True


def trace(mask: NDArray[np.bool_]) -> list[Ring]:
    """The rings along the pixel edges of a mask that hangs together (by edges or corners): outline first, then holes.

    The outline runs clockwise on the screen, holes the other way.
    """
    padded = np.pad(mask, 1)
    inside, above, before = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]  # at the vertex (y, x): SE, NE, SW pixel
    corner = padded[:-1, :-1]  # NW
    going = (
        (inside & ~above) * np.uint8(1)
        | (before & ~inside) * np.uint8(2)
        | (corner & ~before) * np.uint8(4)
        | (above & ~corner) * np.uint8(8)
    )
    width = going.shape[1]
    ways = going.tobytes()
    left = bytearray(ways)  # without the edges walked so far
    offsets = [x + y * width for x, y in STEPS]
    return [_walk(ways, left, start, offsets, width) for start in np.flatnonzero(going & 1).tolist() if left[start] & 1]


def _walk(ways: bytes, left: bytearray, start: int, offsets: list[int], width: int) -> Ring:
    """The ring that leaves the vertex `start` eastwards. Its edges are struck out of `left`; `ways` are all edges."""
    corners = [start]
    at, heading = start + offsets[0], 0
    left[start] &= ~1
    while True:
        # Two ways lead on where parts of a region touch by a corner: the left one keeps them together.
        ahead = next(way for way in ((heading + turn) % 4 for turn in (3, 0, 1)) if ways[at] >> way & 1)
        if at == start and ahead == 0:
            break
        if ahead != heading:
            corners.append(at)
            heading = ahead
        left[at] &= ~(1 << ahead)
        at += offsets[ahead]
    flat = np.array(corners, np.int64)
    return np.stack([flat % width, flat // width], axis=1)


def simplify(ring: Ring, tolerance: float) -> Ring:
    """The ring without corners that lie within `tolerance` of the line between those kept (Douglas and Peucker 1973).

    Fewer than three corners are left of a ring that is that narrow.
    """
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    keep = np.zeros(len(closed), np.bool_)
    keep[[0, far]] = True
    open_pieces = [(0, far), (far, len(ring))]
    while open_pieces:
        first, last = open_pieces.pop()
        if last - first < 2:
            continue
        distance = _distance(closed[first + 1 : last], closed[first], closed[last])
        most = int(np.argmax(distance))
        if distance[most] > tolerance:
            middle = first + 1 + most
            keep[middle] = True
            open_pieces += [(first, middle), (middle, last)]
    return ring[keep[:-1]]


def _distance(points: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points (N, 2) from the segment between `a` and `b`."""
    along = b - a
    length = float(along @ along)
    part = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(len(points))
    distance: NDArray[np.float64] = np.hypot(*(points - a - part[:, None] * along).T)
    return distance


def fill(ring: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool (h, w): the pixels whose centres lie inside a ring (N, 2), by the even-odd rule."""
    height, width = shape[0], shape[1]
    (x0, y0), (x1, y1) = ring.T.astype(np.float64), np.roll(ring, -1, axis=0).T.astype(np.float64)
    # Rows whose centre line an edge crosses.
    top = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
    count = bottom - top
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) + np.repeat(top - (np.cumsum(count) - count), count)
    x = x0[edge] + (row + 0.5 - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    crossings = np.zeros((height, width + 1), np.int64)
    np.add.at(crossings, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return inside
