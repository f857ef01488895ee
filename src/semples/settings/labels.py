"""Settings of label maps: how they are drawn, where the threshold comes from, how they are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Label maps from CAMs."""

    method: str = setting(
        "threshold",
        "what draws labels to the edges of things: threshold (nothing), regions, or another label method; NAME+crf: "
        "then a dense CRF; crf: threshold+crf",
        source="SemPLeS sec. 4.1: dense CRF; FMA-WSSS: regions",
    )
    threshold: float = setting(
        0.45,
        "background threshold of `select: fixed`",
        low=0,
        high=1,
        source="own choice, the middle of the published search range",
    )
    select: Literal["auto", "fixed", "ground-truth", "corrections"] = setting(
        "auto",
        "where the threshold comes from: photos and tags (see `selection`), the setting above, the best by pixel masks "
        "(which weak labels lack), or the best by the photos that people have corrected (`semples correct RUN FILES`)",
        source="own choice; published program: ground-truth",
    )
    per_class: bool = setting(
        False,
        "a threshold for every class",
        source="own measurement: better than one on average, not always at worst",
        when=(("select", ("auto",)),),
    )
    class_thresholds: Literal["same"] | tuple[float, ...] = setting(
        "same",
        "a threshold for every class, in the order of the classes, in place of `threshold`",
        low=0,
        high=1,
        source="own choice: what the sliders of a report show",
        when=(("select", ("fixed",)),),
    )
    min_confidence: float = setting(
        0.0,
        "pixels labelled with a lower confidence are left open (255); 0: none are",
        low=0,
        high=1,
        source="own choice: none are",
    )


@dataclass(frozen=True, kw_only=True)
class CrfSettings:
    """Dense CRF that draws label maps to the edges of the photo (arXiv 1210.5644)."""

    sxy_gaussian: float = setting(
        4.0, "deviation of the position kernel", unit="pixels", low=1e-3, high=1e6, source="published: 4 VOC, 3 COCO"
    )
    weight_gaussian: float = setting(3.0, "weight of the position kernel", low=0, high=1e6, source="published")
    sxy_bilateral: float = setting(
        83.0,
        "deviation of the colour kernel in space",
        unit="pixels",
        low=1e-3,
        high=1e6,
        source="published: 83 VOC, 50 COCO",
    )
    srgb: float = setting(
        5.0, "deviation of the colour kernel in colour, of 0..255", low=1e-3, high=1e6, source="published"
    )
    weight_bilateral: float = setting(
        3.0, "weight of the colour kernel", low=0, high=1e6, source="published: 3 VOC, 10 COCO"
    )
    side: int = setting(
        0,
        "longer side of the photos that the deviations in pixels are for; in others they grow with the side; 0: any",
        unit="pixels",
        low=0,
        high=100_000,
        source="own measurement: a drawn scene of 96 and of 384 pixels wants the same share of its side",
    )
    iterations: int = setting(
        10, "mean-field iterations; not converged then, and need not be", low=0, high=1000, source="published"
    )
    confidence: float = setting(
        0.7, "probability that a given label is right", low=1e-6, high=1 - 1e-6, source="published"
    )


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """Class-agnostic regions that label maps are painted from; a photo's regions come in levels, coarse or fine."""

    proposals: str = setting(
        "sam",
        "who proposes regions: SAM or SAM 2, or felzenszwalb or slic, superpixels, which need no weights",
        source="FMA-WSSS sec. 3: SAM",
    )
    max_side: int = setting(
        1024,
        "a photo with a longer side is reduced to this for its regions",
        unit="pixels",
        low=16,
        high=16_384,
        source="SAM",
    )
    min_area: int = setting(
        20,
        "smaller regions are dropped, or joined to a neighbour",
        unit="pixels",
        low=1,
        high=1e9,
        source="own choice; scikit-image: 20",
    )
    background: float | Literal["threshold"] = setting(
        0.7,
        "power g of a region's background score (1 - best class score)^g; `threshold`: the g for which background wins "
        "where the best score is not above the background threshold",
        low=0,
        high=1000,
        source="FMA-WSSS sec. 3: 0.7",
    )
    combine: Literal["auto", "paint", "average"] = setting(
        "auto",
        "paint: at each pixel the region of the highest level, then confidence, wins; average: the scores of a pixel's "
        "regions are averaged over levels, for levels that each cover the photo; auto: as suits the proposals",
        source="FMA-WSSS sec. 3: paint",
    )


@dataclass(frozen=True, kw_only=True)
class SamSettings(RegionSettings):
    """Regions by SAM or SAM 2, prompted with a grid of points."""

    model: str = setting(
        "facebook/sam-vit-huge", "SAM or SAM 2: hub id or folder in transformers format", source="SAM", weights=True
    )
    points_per_side: int = setting(32, "point prompts along each side", low=1, high=256, source="SAM app. B")
    points_batch: int = setting(64, "point prompts decoded together", low=1, high=65_536, neutral=True)
    min_quality: float = setting(
        0.88, "a mask of lower predicted IoU is dropped", low=0, high=1, source="SAM app. B: 0.88, SAM 2: 0.8"
    )
    min_stability: float = setting(
        0.95,
        "a mask is dropped where cutting it higher and lower agree by a lower IoU",
        low=0,
        high=1,
        source="SAM app. B",
    )
    stability_offset: float = setting(
        1.0, "how much higher and lower, in logits", low=0, high=1000, source="SAM app. B"
    )
    max_overlap: float = setting(
        0.7, "of masks of one level whose boxes have a higher IoU the best is kept", low=0, high=1, source="SAM"
    )


@dataclass(frozen=True, kw_only=True)
class FelzenszwalbSettings(RegionSettings):
    """Superpixels by Felzenszwalb and Huttenlocher, which need no weights."""

    proposals: str = setting("felzenszwalb", "who proposes regions")
    scales: tuple[float, ...] = setting(
        (100.0, 200.0, 400.0, 800.0),
        "scale of the segmentation, one level each",
        low=1,
        high=1e6,
        most=16,
        source="own choice for photos of about 500 pixels",
    )
    sigma: float = setting(0.5, "blur before", unit="pixels", low=0, high=100, source="own choice")


@dataclass(frozen=True, kw_only=True)
class SlicSettings(RegionSettings):
    """Superpixels by SLIC, which need no weights."""

    proposals: str = setting("slic", "who proposes regions")
    scales: tuple[float, ...] = setting(
        (100.0, 200.0, 400.0, 800.0),
        "number of segments, one level each",
        low=1,
        high=1e6,
        most=16,
        source="own choice for photos of about 500 pixels",
    )
    sigma: float = setting(0.5, "blur before", unit="pixels", low=0, high=100, source="own choice")
    compactness: float = setting(10.0, "weight of nearness against colour", low=1e-3, high=1e6, source="scikit-image")


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """How threshold and epoch are chosen, and label maps judged, without any mask."""

    photos: int = setting(
        300, "tagged photos that are looked at, drawn at random by run.seed", low=1, high=1e9, source="own measurement"
    )


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Scores against masks, where masks exist."""

    curve_start: int = setting(30, "first background threshold", unit="percent", low=0, high=100)
    curve_end: int = setting(60, "end of the thresholds, itself excluded", unit="percent", low=1, high=101)
