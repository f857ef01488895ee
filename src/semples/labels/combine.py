"""Label maps from two or more sources, pixel by pixel: who is surest, and how many agree.

Shape suffixes: S sources, V label values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semples.labels.scored import IGNORE, Labelled

By = Literal["confidence", "vote"]


def combined(
    sources: Sequence[Labelled], *, by: By = "confidence", weights: Sequence[float] | None = None, agree: int = 1
) -> Labelled:
    """One label map of several of the same photo and size.

    Every source that has labelled a pixel gives its weight (1 each by default), times its confidence where `by` is
    "confidence", to its label; the label with most wins, among equals the one whose first source comes first. A pixel
    is left open (255) where fewer than `agree` sources gave the winning label. The confidence is the winner's lead over
    the next label, as a share of all weights.

    Raises ValueError for no source, maps of different sizes, or weights that are not one each and above 0.
    """
    if not sources or any(one.labels.shape != sources[0].labels.shape for one in sources):
        raise ValueError("give one label map or more, all of one size")
    chosen = [1.0] * len(sources) if weights is None else list(weights)
    if len(chosen) != len(sources) or not min(chosen) > 0:
        raise ValueError(f"{len(chosen)} weights for {len(sources)} sources; give one each, above 0")
    labels_SHW = np.stack([one.labels for one in sources])
    # In order of first mention, so that among equals the earlier source wins.
    values = list(dict.fromkeys(int(v) for one in sources for v in np.unique(one.labels) if v != IGNORE))
    if not values:
        return Labelled(np.full_like(labels_SHW[0], IGNORE), np.zeros(labels_SHW.shape[1:], np.float32))
    given_SHW = np.stack(
        [
            weight * (one.confidence if by == "confidence" else np.ones(one.labels.shape, np.float32))
            for weight, one in zip(chosen, sources, strict=True)
        ]
    ).astype(np.float64)
    votes_VHW = np.stack([np.where(labels_SHW == value, given_SHW, 0).sum(axis=0) for value in values])
    best_HW = _first_best(votes_VHW, labels_SHW, values)
    labels = np.array(values, np.uint8)[best_HW]
    supporters = (labels_SHW == labels).sum(axis=0)
    top = np.take_along_axis(votes_VHW, best_HW[None], axis=0)[0]
    np.put_along_axis(votes_VHW, best_HW[None], -1.0, axis=0)
    second = np.maximum(votes_VHW.max(axis=0), 0)
    confidence = ((top - second) / sum(chosen)).clip(0, 1)
    opened = supporters < agree
    return Labelled(np.where(opened, np.uint8(IGNORE), labels), np.where(opened, 0, confidence).astype(np.float32))


def _first_best(
    votes_VHW: NDArray[np.float64], labels_SHW: NDArray[np.uint8], values: Sequence[int]
) -> NDArray[np.intp]:
    """Place of the label with most votes (H,W); among equals that of the earliest source that has labelled the pixel
    so."""
    most = votes_VHW.max(axis=0)
    best = votes_VHW.argmax(axis=0)
    place = {value: index for index, value in enumerate(values)}
    decided = np.zeros(most.shape, bool)
    for layer in labels_SHW:
        for value in np.unique(layer):
            if int(value) == IGNORE:
                continue
            index = place[int(value)]
            takes = (layer == value) & ~decided & (votes_VHW[index] >= most)
            best[takes] = index
            decided |= takes
    return best
