"""Settings of the photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which photos are trained on, and how they are read."""

    split: str = setting("", "list of the training photos; empty: train_aug, train or all photos, whichever exists")
    column: str = setting("", "column of Parquet files that holds the tags; empty: found by its feature or name")
    max_megapixels: float = setting(100.0, "a larger photo is set aside", unit="megapixels", low=0.001, high=10_000)
    bits: int = setting(
        0, "of the greatest value in photos of 16 bits; 0: as each file says, else 16", unit="bits", low=0, high=16
    )
    turn_tags: float = setting(
        0.0,
        "a tag, or its absence, that the other photos' tags contradict with at least this probability is turned over "
        "before anything learns; 0: tags are believed; 0.8 where some are known to be wrong",
        low=0,
        high=1,
        source="own choice; benchmarks/README.md",
    )
    workers: int | Literal["auto"] = setting(
        "auto",
        "processes that decode and augment photos, and make regions and label maps; 0: the program itself; auto: 2, on "
        "a machine with a GPU one for each core that the process may use, at most 16",
        low=0,
        high=256,
        neutral=True,
    )
