"""Settings of what looks after the stages."""

from __future__ import annotations

from dataclasses import dataclass

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """How the health of every stage is looked at, without any mask."""

    photos: int = setting(
        100, "tagged photos that every stage is looked at on, drawn by run.seed; 0: not at all", low=0, high=1e6
    )
    tagged_photos: int = setting(
        5000, "photos whose tags are predicted from the other photos, drawn by run.seed", low=1, high=1e6
    )
    held_out: float = setting(
        0.0,
        "share of the photos that no training sees, drawn by photo name and run.seed; they get label maps all the same",
        low=0,
        high=0.5,
        source="own choice: with few photos each one counts, so none is held out unless asked for",
    )
