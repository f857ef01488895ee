"""Masks as run-length codes: COCO's, and Label Studio's for brush strokes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semples.export.regions import Region

CHANNELS = 4  # a brush stroke is a picture with red, green, blue, opacity
RUN_WIDTHS = (3, 4, 8, 16)  # bits for the length of a run, as Label Studio itself chooses


def coco_counts(region: Region, shape: tuple[int, ...]) -> list[int]:
    """Lengths of the runs outside and inside a region in turn, down the columns of a photo of `shape` (H, W)."""
    height, width = shape[0], shape[1]
    columns = np.pad(region.mask, ((1, 1), (0, 0))).T.astype(np.int8)
    change = np.diff(columns, axis=1)
    column, down = np.nonzero(change)  # starts and ends in turn, column by column
    place = (region.x + column) * height + region.y + down
    # A run that ends at the foot of a column goes on where the next begins at its head.
    together = np.flatnonzero(place[1:-1:2] == place[2::2]) * 2 + 1
    place = np.delete(place, np.concatenate([together, together + 1]))
    ends = np.concatenate([[0], place, [height * width]])
    counts: list[int] = np.diff(ends).tolist()
    return counts if counts[-1] else counts[:-1]


def pack_counts(counts: list[int]) -> str:
    """COCO's compressed text of run lengths.

    From the fourth number on the difference to the number two places before is stored. A number takes five bits a
    character, lowest first; the sixth bit says that more follow, and the fifth of the last one is the sign.
    """
    signs = []
    for place, count in enumerate(counts):
        rest = count - counts[place - 2] if place > 2 else count
        while True:
            bits, rest = rest & 31, rest >> 5
            last = rest == (-1 if bits & 16 else 0)
            signs.append(chr(48 + bits + (0 if last else 32)))
            if last:
                break
    return "".join(signs)


def coco_rle(region: Region, shape: tuple[int, ...]) -> dict[str, object]:
    """COCO's run-length code of a region, compressed, of a photo of `shape` (H, W)."""
    return {"size": [int(shape[0]), int(shape[1])], "counts": pack_counts(coco_counts(region, shape))}


def brush_code(mask: NDArray[np.bool_]) -> list[int]:
    """Label Studio's code of a mask (H, W), bytes as numbers: a picture of four channels, 255 inside, 0 outside.

    32 bits: number of values; 5: bits of a value less one; 4 x 4: RUN_WIDTHS less one each; then for each run a one,
    2 bits that choose a width, the length less one in that width, and the value.
    """
    flat = mask.ravel()
    start = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    length = np.diff(start, append=flat.size) * CHANNELS
    bits = [f"{CHANNELS * flat.size:032b}", f"{7:05b}", *(f"{width - 1:04b}" for width in RUN_WIDTHS)]
    longest = 1 << RUN_WIDTHS[-1]
    for inside, total in zip(flat[start].tolist(), length.tolist(), strict=True):
        value = "11111111" if inside else "00000000"
        for done in range(0, total, longest):
            run = min(longest, total - done)
            choice = next(k for k, width in enumerate(RUN_WIDTHS) if run <= 1 << width)
            bits.append(f"1{choice:02b}{run - 1:0{RUN_WIDTHS[choice]}b}{value}")
    signs = np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")
    numbers: list[int] = np.packbits(signs).tolist()
    return numbers
