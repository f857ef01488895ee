"""Labels of a new photo drawn to its edges by the dense CRF: on a small copy of it, or by tiles of the photo itself.

A photo that the network saw whole has no finer scores than a copy of `CRF_SIDE` pixels holds. One that it saw by
windows has: it is refined by tiles at its own resolution, each with a rim that its neighbours have too, so that what is
small in a large photo stays, and memory depends on the tile alone. Shape suffixes as in `scores`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semples.data.photos import reduced
from semples.labels.crf.dense import FLOOR, DenseCrf
from semples.labels.scored import nearest
from semples.prediction.scores import Rows, Segmented, enlarged_part, labels_from_scores
from semples.prediction.views import Size

CRF_SIDE = 1024  # longest side of a copy that the CRF takes as a whole; it needs about 1 kB a pixel
TILE, RIM = 512, 96  # side of a tile, and how far around it the CRF looks, pixels

Photo = NDArray[np.uint8]


def refined(
    scores: Tensor, picture: Photo, size: Size, *, crf: DenseCrf, values: tuple[int, ...] | None, confident: bool
) -> Segmented:
    """Labels of `size` (H,W) from probabilities (C,h,w), refined on a copy of `picture`."""
    small = np.array(reduced(picture, max_side=CRF_SIDE))
    shape = (small.shape[0], small.shape[1])
    rough = labels_from_scores(scores, shape, values=values, confident=confident)
    present = np.unique(rough.labels).tolist()
    if len(present) == 1:
        return resized(rough, size)
    chosen = F.interpolate(scores[present][None], shape, mode="bilinear", align_corners=False)[0]
    del scores
    answer = labels_from_scores(_marginals(crf, small, chosen), size, confident=confident)
    return Segmented(np.array(present, np.uint8)[answer.labels], answer.confidence)


def refined_by_tiles(
    rows: Rows, photo: Photo, *, crf: DenseCrf, values: tuple[int, ...] | None, confident: bool
) -> Segmented:
    """Labels of the size of `photo`, uint8 (H,W,3), refined tile by tile; the probabilities are read from above."""
    height, width = photo.shape[:2]
    candidates = list(range(rows.shape[0])) if values is None else list(values)
    labels = np.empty((height, width), np.uint8)
    confidence = np.ones((height, width), np.float32) if confident else None
    for down in _tiles(height):
        outer_rows = _with_rim(down, height)
        first, last = _cells(outer_rows, height, rows.shape[1])
        held = rows.read(first, last)[candidates].float()
        for across in _tiles(width):
            outer_columns = _with_rim(across, width)
            scores = enlarged_part(
                held, (height, width), outer_rows, outer_columns, first_row=first, row_count=rows.shape[1]
            )
            part = photo[slice(*outer_rows), slice(*outer_columns)]
            answer = _refined_tile(scores, part, crf=crf, confident=confident)
            inner = tuple(
                slice(tile[0] - outer[0], tile[1] - outer[0])
                for tile, outer in ((down, outer_rows), (across, outer_columns))
            )
            place = slice(*down), slice(*across)
            labels[place] = np.array(candidates, np.uint8)[answer.labels[inner]]
            if confidence is not None and answer.confidence is not None:
                confidence[place] = answer.confidence[inner]
    return Segmented(labels, confidence)


def resized(answer: Segmented, size: Size) -> Segmented:
    """Nearest-neighbour copy at (H,W)."""
    confidence = None if answer.confidence is None else nearest(answer.confidence, size)
    return Segmented(nearest(answer.labels, size), confidence)


def _refined_tile(scores: Tensor, part: Photo, *, crf: DenseCrf, confident: bool) -> Segmented:
    """Labels of a tile with its rim, as places among the scores."""
    size = (part.shape[0], part.shape[1])
    present = torch.unique(scores.argmax(0)).tolist()
    if len(present) == 1:
        return labels_from_scores(scores, size, confident=confident)
    answer = labels_from_scores(_marginals(crf, np.array(part), scores[present]), size, confident=confident)
    return Segmented(np.array(present, np.uint8)[answer.labels], answer.confidence)


def _marginals(crf: DenseCrf, picture: Photo, scores: Tensor) -> Tensor:
    """The CRF's probabilities (n,h,w) from those of the labels that are present, which are overwritten."""
    scores /= scores.sum(0).clamp_min_(1e-12)
    scores.clamp_(min=FLOOR, max=1).log_().neg_()  # `unary_from_scores` in place, since a large photo has much of it
    return crf.marginals([torch.from_numpy(picture)], [scores])[0]


def _tiles(length: int) -> Iterator[tuple[int, int]]:
    """First and last place of the tiles along a side, about equal, none longer than `TILE`."""
    count = -(-length // TILE)
    for index in range(count):
        yield index * length // count, (index + 1) * length // count


def _with_rim(tile: tuple[int, int], length: int) -> tuple[int, int]:
    return max(0, tile[0] - RIM), min(length, tile[1] + RIM)


def _cells(places: tuple[int, int], length: int, count: int) -> tuple[int, int]:
    """First and last of the `count` cells along a side that are asked of when these places of `length` are enlarged."""
    return max(0, places[0] * count // length - 1), min(count, -(-places[1] * count // length) + 1)
