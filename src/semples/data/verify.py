"""Which photos can be decoded, found out once and in full."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from semples.core.progress import track
from semples.core.ranks import ALONE, Ranks
from semples.data.dataset import Item, PhotoError, Problem, TaggedDataset

T = TypeVar("T")


@dataclass(frozen=True)
class Verified:
    """What decoding every photo once showed.

    `kept` are the readable items in the dataset's order; `problems` name the others; `sizes` maps the id of each kept
    item to its (width, height), upright.
    """

    kept: tuple[Item, ...]
    problems: tuple[Problem, ...]
    sizes: Mapping[str, tuple[int, int]]


def verify_photos(dataset: TaggedDataset, *, workers: int = 1, ranks: Ranks = ALONE) -> Verified:
    """Decode every photo once, in full, and tell which are usable; a run calls this before it trains.

    `workers` threads decode at once (Pillow's decoders run beside each other), each holding one photo in memory. The
    answer does not depend on their number. ranks: the processes that share the photos; each gets the whole answer.
    """

    def size_of(item: Item) -> tuple[int, int] | str:
        try:
            height, width, _ = dataset.photo(item).shape
        except PhotoError as error:
            return str(error)
        return width, height

    kept: list[Item] = []
    problems: list[Problem] = []
    sizes: dict[str, tuple[int, int]] = {}
    mine = ranks.share(dataset.items)
    outcomes = track(_in_order(size_of, mine, workers), label="checking photos", total=len(mine))
    for item, outcome in zip(dataset.items, ranks.together(list(outcomes)), strict=True):
        if isinstance(outcome, str):
            problems.append(Problem(item.id, outcome))
        else:
            kept.append(item)
            width, height = outcome
            sizes[item.id] = (width, height)
    return Verified(tuple(kept), tuple(problems), sizes)


def _in_order(task: Callable[[Item], T], items: Iterable[Item], workers: int) -> Iterator[T]:
    """`map(task, items)` on several threads, with few items ahead of the one asked for."""
    if workers <= 1:
        yield from map(task, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(pool.submit(task, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
