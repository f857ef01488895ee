"""How well scores of photos tell the photos that carry a tag from the rest, as arithmetic on arrays.

n photos, K classes; scores (n,) of any scale, tags (n,) or (n,K) bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Tags = NDArray[np.bool_]


def auc(score_n: Scores, tag_n: Tags) -> float:
    """The share of pairs (a photo with the tag, one without) in which the first scores higher, ties half: the area
    under the ROC curve, 0..1, 0.5 is chance. NaN where all photos have the tag, or none."""
    with_tag, without = int(tag_n.sum()), int((~tag_n).sum())
    if not with_tag or not without:
        return float("nan")
    _, place_n, counts = np.unique(score_n, return_inverse=True, return_counts=True)
    rank_n = (np.cumsum(counts) - (counts - 1) / 2)[place_n]
    return float((rank_n[tag_n].sum() - with_tag * (with_tag + 1) / 2) / (with_tag * without))


def auc_error(value: float, with_tag: int, without: int) -> float:
    """Standard error of an AUC of so many photos (Hanley and McNeil 1982); NaN where there are none."""
    if not with_tag or not without:
        return float("nan")
    first, second = value / (2 - value), 2 * value**2 / (1 + value)
    spread = (with_tag - 1) * (first - value**2) + (without - 1) * (second - value**2)
    return float(np.sqrt(max(0.0, value * (1 - value) + spread) / (with_tag * without)))


def taken_for(score_nK: Scores, tags_nK: Tags, index: int) -> list[tuple[int, float]]:
    """Other classes by the share of the photos of class `index` in which they score higher, the commonest first.

    Every class's scores are first brought to mean 0 and deviation 1 over all photos: texts differ in how much any photo
    is like them. A photo that carries the other class as well says nothing of the two.
    """
    spread = score_nK.std(axis=0)
    even_nK = (score_nK - score_nK.mean(axis=0)) / np.where(spread > 0, spread, 1)
    shares = []
    for other in range(score_nK.shape[1]):
        alone = tags_nK[:, index] & ~tags_nK[:, other]
        if other != index and alone.any():
            share = float((even_nK[alone, other] > even_nK[alone, index]).mean())
            shares.append((other, share))
    return sorted(shares, key=lambda entry: -entry[1])


@dataclass(frozen=True)
class Better:
    """The word that tells a class better than the present one. place: its place among the tried ones; gain: how much
    higher its AUC is on photos that it was not chosen by."""

    place: int
    gain: float


def better_word(score_nW: Scores, tag_n: Tags, *, present: int, fewest: int = 8, margin: float = 0.02) -> Better | None:
    """Which of W words, by the scores of all photos for each, tells a class better than that at `present`.

    Chosen on every second photo and measured on the others, then the other way round. None unless both halves agree on
    a word whose gain on photos it was not chosen by is at least `margin` and one standard error, and each half has
    `fewest` / 2 photos with the tag and as many without.
    """
    halves = _halves(tag_n)
    if min(int(tag_n[half].sum()) for half in halves) < fewest // 2:
        return None
    if min(int((~tag_n[half]).sum()) for half in halves) < fewest // 2:
        return None
    chosen, gains = set[int](), list[float]()
    for here, there in (halves, halves[::-1]):
        values = [auc(score_nW[here, word], tag_n[here]) for word in range(score_nW.shape[1])]
        best = int(np.argmax(values))
        chosen.add(best)
        gains.append(auc(score_nW[there, best], tag_n[there]) - auc(score_nW[there, present], tag_n[there]))
    if len(chosen) > 1 or present in chosen:
        return None
    (place,), gain = chosen, float(np.mean(gains))
    error = auc_error(auc(score_nW[:, place], tag_n), int(tag_n.sum()), int((~tag_n).sum()))
    return Better(place, gain) if gain >= max(margin, error) else None


def _halves(tag_n: Tags) -> tuple[Sequence[int], Sequence[int]]:
    """Two halves of the photos, with and without the tag alike."""
    order = np.argsort(~tag_n, kind="stable")
    return order[::2].tolist(), order[1::2].tolist()
