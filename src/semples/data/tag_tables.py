"""Tags of photos as tables, a row a photo and a column a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semples.data.dataset import Item

Bools = NDArray[np.bool_]


def class_table(listed: Sequence[Sequence[int]], classes: int) -> Bools:
    """(n,K) bool, True for the classes that are listed for a photo."""
    table = np.zeros((len(listed), classes), np.bool_)
    for row, indices in zip(table, listed, strict=True):
        row[list(indices)] = True
    return table


def tag_tables(items: Sequence[Item], classes: int) -> tuple[Bools, Bools]:
    """Tags of photos, and which of them are known (not left open), each bool (n,K)."""
    return class_table([item.tags for item in items], classes), ~class_table([item.open for item in items], classes)
