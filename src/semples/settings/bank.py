"""Settings of the region bank and of label maps that are made with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semples.core.schema import setting
from semples.settings.labels import LabelSettings


@dataclass(frozen=True, kw_only=True)
class BankSettings:
    """How a region bank is made and asked."""

    neighbours: int = setting(25, "nearest entries that vote on a region", low=1, high=100_000, source="ModuSeg: 25")
    purge: float = setting(
        0.25,
        "share of each class's entries that is dropped, those farthest from the class's mean; background keeps all",
        low=0,
        high=0.95,
        source="ModuSeg: 0.25",
    )
    erosion: float = setting(
        0.0,
        "how deep masks are eroded before their features are pooled, as a share of the photo's longer side; a mask "
        "that would vanish keeps its inner half",
        low=0,
        high=0.5,
        source="ModuSeg: 20 pixels of about 500, 0.04; with superpixels, which end at edges, it measured worse",
    )
    entries: Literal["regions", "masks"] = setting(
        "regions",
        "what one entry is: a region, or the whole mask of a class in a photo",
        source="ModuSeg: masks, which needs at least `neighbours` photos a class; own measurement: regions",
    )
    purity: float = setting(
        0.5,
        "a region is entered where its most frequent label has at least this share of its pixels",
        low=0,
        high=1,
        source="own choice",
    )
    most: int = setting(
        40_000,
        "entries kept of each value, drawn at random where there are more",
        low=1,
        high=10_000_000,
        source="own choice: memory",
    )


@dataclass(frozen=True, kw_only=True)
class BankLabelSettings(BankSettings, LabelSettings):
    """Label maps that are put right by a region bank of all photos; the threshold is that of `before`."""

    method: str = setting("bank", "bank, or bank+crf: then a dense CRF", source="ModuSeg")
    before: str = setting(
        "regions+crf", "the label method whose maps the bank is made of, NAME or NAME+crf", source="own measurement"
    )
    outlines: Literal["superpixels", "regions"] = setting(
        "superpixels",
        "the regions that are entered and named: superpixels of its own, or the proposals of the group `regions`",
        source="own measurement: 200 SLIC superpixels; ModuSeg: masks of SAM 2 or EntitySeg",
    )
    superpixels: int = setting(
        200, "superpixels a photo", low=1, high=100_000, source="own measurement on photos of 320 pixels"
    )
