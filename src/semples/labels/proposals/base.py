"""What everything is that proposes regions: made from settings, it answers with the regions of one photo after another.

A new one is a class in a file of its own and a line in `semples.settings.kinds.PROPOSALS`, or an entry point
`semples.proposals` of another package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from semples.labels.regions import Combine, Regions
from semples.settings.kinds import PROPOSALS
from semples.settings.labels import RegionSettings

if TYPE_CHECKING:
    import torch


class Proposer(ABC):
    """Proposes the regions of one photo after another; equal photos have equal regions.

    Settings: class of the recipe's group `regions`. combine: how label maps put its levels together where the recipe
    leaves it open: `paint` for regions that overlap, `average` for levels that each cover the photo. has_network:
    whether it computes with weights, on a device; their source is then `settings.model`.
    """

    Settings: ClassVar[type[RegionSettings]] = RegionSettings
    combine: ClassVar[Combine] = "paint"
    has_network: ClassVar[bool] = False

    def __init__(self, settings: RegionSettings, *, device: torch.device | None = None) -> None:
        self.settings = settings

    @abstractmethod
    def __call__(self, photo: NDArray[np.uint8]) -> Regions:
        """Regions of a photo, uint8 (H,W,3), in levels; a level may be empty."""


def make_proposer(settings: RegionSettings, *, device: torch.device | None = None) -> Proposer:
    """Who proposes regions by the recipe's group. Raises UserError for an unknown one, or weights of no use."""
    made: Proposer = PROPOSALS.load(settings.proposals)(settings, device=device)
    return made


def combination(settings: RegionSettings) -> Combine:
    """How the levels go together; `auto` leaves it to who proposes."""
    if settings.combine != "auto":
        return settings.combine
    suited: Combine = PROPOSALS.load(settings.proposals).combine
    return suited
