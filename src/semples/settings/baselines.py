"""Settings of baselines, label maps by another model: what all have, and what the shipped ones add."""

from __future__ import annotations

from dataclasses import dataclass

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class BaselineSettings:
    """A baseline: what every one has."""

    kind: str = setting("clipseg", "name of the baseline; `semples methods` lists them, module:Name is any other")
    model: str = setting("", "hub id or folder in transformers format", weights=True)
    threshold: float = setting(
        0.4,
        "a class counts where its score is above this; elsewhere is background",
        low=0,
        high=1,
        source="own choice",
    )


@dataclass(frozen=True, kw_only=True)
class ClipSegSettings(BaselineSettings):
    """CLIPSeg: a mask for every class name."""

    model: str = setting(
        "CIDAS/clipseg-rd64-refined", "hub id or folder in transformers format", source="CLIPSeg", weights=True
    )
    template: str = setting("a photo of a {name}.", "text of a class; {name} is its name", source="CLIPSeg, CLIP")
    side: int = setting(
        352, "side of the square that a photo is resized to", unit="pixels", low=32, high=4096, source="CLIPSeg: 352"
    )


@dataclass(frozen=True, kw_only=True)
class GroundedSamSettings(BaselineSettings):
    """Grounding DINO's boxes and SAM's masks in them (both Apache-2.0)."""

    kind: str = setting("groundingdino+sam", "name of the baseline")
    model: str = setting(
        "IDEA-Research/grounding-dino-tiny",
        "the Grounding DINO: hub id or folder in transformers format",
        source="Grounding DINO",
        weights=True,
    )
    sam: str = setting(
        "facebook/sam-vit-base",
        "the SAM: hub id or folder in transformers format",
        source="Grounded SAM (arXiv 2401.14159)",
        weights=True,
    )
    template: str = setting(
        "{name}.", "text of a class; {name} is its name", source="Grounding DINO: name and full stop"
    )
    side: int = setting(
        800,
        "the photo's shorter side as Grounding DINO sees it; the longer is at most 5 / 3 of that",
        unit="pixels",
        low=32,
        high=4096,
        source="Grounding DINO: 800, 1333",
    )
    least_score: float = setting(
        0.25, "boxes of a lower score are left out", low=0, high=1, source="Grounding DINO: 0.25"
    )
    threshold: float = setting(
        0.15,
        "a class counts where the product of a box's score and its mask's probability is above this",
        low=0,
        high=1,
        source="own choice: half of the lowest score of a box, and a little",
    )


@dataclass(frozen=True, kw_only=True)
class Sam3Settings(BaselineSettings):
    """SAM 3 by class names (gated weights, Meta's SAM licence)."""

    kind: str = setting("sam3", "name of the baseline")
    model: str = setting("facebook/sam3", "hub id or folder in transformers format", source="SAM 3", weights=True)
    template: str = setting("{name}", "text of a class; {name} is its name", source="SAM 3: short noun phrases")
    least_score: float = setting(
        0.3, "instances of a lower score are left out", low=0, high=1, source="transformers' default"
    )
    threshold: float = setting(
        0.2,
        "a class counts where the product of an instance's score and its mask's probability is above this",
        low=0,
        high=1,
        source="own choice: half of the lowest score of an instance, and a little",
    )
