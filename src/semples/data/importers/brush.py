"""Label Studio's brush masks: a run-length code of the four channels of a drawing, packed into bits.

The packing is that of thi.ng's rle-pack: 32 bits number of values, 5 bits their width minus one, four times 4 bits
widths of run lengths minus one; then for each piece one bit (1: a run of one value, 0: single values), two bits that
choose a width, the number of values minus one in that width, and the value or values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CHANNELS = 4
MAX_PIXELS = 100_000_000


class BrushError(Exception):
    """A brush mask cannot be read; the message is the reason."""


class _Bits:
    """Reads numbers of given widths from bytes, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self.position = 0

    def read(self, width: int) -> int:
        piece = self.take(width)
        return int("".join(map(str, piece.tolist())), 2)

    def take(self, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        piece = self.bits[self.position : self.position + count]
        if len(piece) < count:
            raise BrushError("a brush mask that is cut off")
        self.position += count
        return piece


def brush_to_rle(data: list[Any], size: tuple[int, int]) -> dict[str, Any]:
    """COCO's run-length code {"size": [H, W], "counts": numbers} of the drawn (not transparent) pixels.

    `data` are the bytes as numbers, `size` is the photo's (width, height). Raises BrushError.
    """
    width, height = size
    if not all(type(byte) is int and 0 <= byte < 256 for byte in data):
        raise BrushError("a brush mask that is not made of bytes")
    bits = _Bits(bytes(data))
    total = bits.read(32)
    if total != CHANNELS * width * height or width * height > MAX_PIXELS:
        raise BrushError(f"a brush mask of {total} values for a photo of {width}x{height} pixels")
    value_width = bits.read(5) + 1
    length_widths = [bits.read(4) + 1 for _ in range(4)]
    if value_width != 8:
        raise BrushError("a brush mask with values that are not bytes")
    values = np.zeros(total, np.uint8)
    position = 0
    while position < total:
        repeated = bits.read(1)
        count = bits.read(length_widths[bits.read(2)]) + 1
        if position + count > total:
            raise BrushError("a brush mask that holds too many values")
        values[position : position + count] = bits.read(8) if repeated else np.packbits(bits.take(8 * count))
        position += count
    drawn = (values.reshape(height, width, CHANNELS)[..., 3] > 0).ravel(order="F")
    edges = np.flatnonzero(np.diff(drawn)) + 1
    counts = np.diff(np.concatenate([[0], edges, [drawn.size]])).tolist()
    return {"size": [height, width], "counts": [0, *counts] if drawn[0] else counts}
