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
    cache: Literal["auto", "memory", "disk", "no"] = setting(
        "auto",
        "where decoded photos are kept while stages and segmenter are trained, shared by all processes of a machine; "
        "auto: in memory, where all of them take no more than a quarter of what is free, else nowhere; memory, disk "
        "(the run's folder): as many as have room. The result is the same",
        neutral=True,
    )
    cache_gb: float | Literal["auto"] = setting(
        "auto",
        "most that kept photos take; auto: half of the free memory, or a fifth of the free disk",
        unit="GB",
        low=0,
        high=1_000_000,
        neutral=True,
        unless=(("cache", ("no",)),),
    )
    train_side: int = setting(
        0,
        "longer side of the photos that training views are cut from, at most; a larger photo is reduced first, so that "
        "more have room in the cache; 0: as they are",
        unit="pixels",
        low=0,
        high=100_000,
        source="own choice; benchmarks/README.md",
    )
