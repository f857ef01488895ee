"""One ring of an outline and its holes, through cuts of no width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial import Delaunay, QhullError

Tied = Mapping[tuple[int, int], Sequence[tuple[int, int]]]  # (ring, place) to the (hole, place) tied in there


def join(rings: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The outline, the first of `rings` (N, 2), and its holes as one ring, by cuts walked there and back.

    The cuts are as short as they can be in all: the least spanning tree of the rings. Its edges are among those of a
    Delaunay triangulation of the corners (Preparata & Shamos 1985), which takes N log N time.
    """
    if len(rings) == 1:
        return rings[0]
    walk = np.array(list(_walk([len(ring) for ring in rings], _ties(rings))), np.int64)
    first = np.cumsum([0, *(len(ring) for ring in rings[:-1])])
    joined: NDArray[Any] = np.concatenate(rings)[first[walk[:, 0]] + walk[:, 1]]
    return joined


def _ties(rings: Sequence[NDArray[Any]]) -> Tied:
    """Where each hole is tied to the ring that it is entered from."""
    corners = np.concatenate(rings).astype(np.float64)
    count = np.array([len(ring) for ring in rings])
    ring_of = np.repeat(np.arange(len(rings)), count)
    place_of = np.arange(len(corners)) - np.repeat(np.cumsum(count) - count, count)
    one, other = _near(corners)
    between = ring_of[one] != ring_of[other]
    one, other = one[between], other[between]
    swap = ring_of[one] > ring_of[other]
    one, other = np.where(swap, other, one), np.where(swap, one, other)
    apart = ((corners[one] - corners[other]) ** 2).sum(axis=1)
    # Of each pair of rings the shortest cut; of equal ones the first.
    order = np.lexsort((other, one, apart, ring_of[other], ring_of[one]))
    pair = ring_of[one[order]] * len(rings) + ring_of[other[order]]
    order = order[np.concatenate([[True], pair[1:] != pair[:-1]])]
    one, other, apart = one[order], other[order], apart[order]
    shape = (len(rings), len(rings))
    graph = csr_array((np.sqrt(apart) + 1, (ring_of[one], ring_of[other])), shape=shape)  # 0 would be no edge
    tree = minimum_spanning_tree(graph)
    order, before = breadth_first_order(tree, 0, directed=False)
    cut = {pair: place for place, pair in enumerate(zip(ring_of[one].tolist(), ring_of[other].tolist(), strict=True))}
    tied: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for hole in order[1:].tolist():
        ring = int(before[hole])
        place = cut[min(ring, hole), max(ring, hole)]
        here, there = (one[place], other[place]) if ring < hole else (other[place], one[place])
        tied[ring, int(place_of[here])].append((hole, int(place_of[there])))
    return tied


def _near(corners: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of corners among which are the nearest ones of any two rings: neighbours, and those at one place."""
    places, of_corner = np.unique(corners, axis=0, return_inverse=True)
    order = np.argsort(of_corner, kind="stable")
    alike = of_corner[order][1:] == of_corner[order][:-1]
    pairs = [np.stack([order[:-1][alike], order[1:][alike]], axis=1)]
    try:
        triangles = Delaunay(places).simplices
    except QhullError:  # corners on one line
        triangles = np.zeros((0, 3), np.int64)
        pairs.append(np.stack([order[:-1], order[1:]], axis=1))
    first = order[np.concatenate([[True], ~alike])]  # a corner at each place
    pairs += [first[triangles[:, side]] for side in ([0, 1], [1, 2], [2, 0])]
    pairs_M2 = np.concatenate(pairs).astype(np.int64)
    return pairs_M2[:, 0], pairs_M2[:, 1]


def _walk(counts: Sequence[int], tied: Tied) -> Iterator[tuple[int, int]]:
    """Every corner in turn, (ring, place): each ring from where it is entered, round, and back to that corner."""
    waiting = [(0, iter(range(counts[0])))]
    done: set[tuple[int, int]] = set()
    while waiting:
        ring, places = waiting[-1]
        place = next(places, None)
        if place is None:
            waiting.pop()
            continue
        yield ring, place
        if (ring, place) in done or (ring, place) not in tied:
            continue
        done.add((ring, place))
        for hole, there in tied[ring, place]:
            waiting.append((ring, iter([place])))
            waiting.append((hole, iter([*range(there, counts[hole]), *range(there + 1)])))
