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
