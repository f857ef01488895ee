"""What every label method is: made from settings, it labels one photo after another.

A new one is a class in a file of its own and a line in `semples.settings.kinds.LABEL_METHODS`, or an entry point
`semples.label_methods` of another package. It says what background and classes score at every pixel; labels,
confidences, sweeps over thresholds, open pixels and the dense CRF afterwards (`semples.labels.refined`) come from that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.evaluation.selection import Grid
from semples.labels.regions import Regions
from semples.labels.scored import Cams, Labelled, Scored, Thresholds, nearest
from semples.settings.labels import CrfSettings, LabelSettings, RegionSettings

REGIONS, FEATURES = "regions", "features"


def nothing_given() -> NoReturn:
    """In place of what a photo does not come with."""
    raise UserError("the label method looks at something of the photo that it was not given")


@dataclass(frozen=True, kw_only=True)
class LabelInput:
    """What a label method is told of a photo.

    id: of the photo. cams: {class index (0-based): float32 `shape` in 0..1}, in the order of the tags. shape: (H,W) of
    the CAMs. size: (H,W) of the photo, and of the labels. tags: class indices that a label may have. photo: gives the
    photo, uint8 (H,W,3) of `size`. regions: gives its regions. features: gives its frozen patch features, float32
    (h,w,C). The last three are called only by methods that look at them.
    """

    id: str
    cams: Cams
    shape: tuple[int, int]
    size: tuple[int, int]
    tags: tuple[int, ...]
    photo: Callable[[], NDArray[np.uint8]] = nothing_given
    regions: Callable[[], Regions] = nothing_given
    features: Callable[[], NDArray[np.float32]] = nothing_given


class Quality(NamedTuple):
    """mIoU (percent) of label maps as a line over the steadiness (0..1) at the chosen threshold: value at 0, slope, and
    the error of such an estimate."""

    start: float
    slope: float
    error: float


@dataclass(frozen=True)
class Calibration:
    """What was measured for a method once and for all.

    grid: thresholds that are tried when one is chosen without masks, and how both signs count. quality: the estimate of
    the label maps' mIoU; None: not measured, so no estimate is given.
    """

    grid: Grid
    quality: Quality | None = None


class LabelMethod(ABC):
    """Labels of one photo after another, from CAMs and what else `needs` names.

    Settings: class of the recipe's group `labels`. needs: of {"regions", "features"}; the photo is always to be had.
    calibration, refined_calibration: of the method alone, and with the dense CRF behind it; the defaults are those of a
    method that was not measured. A docstring's first line says what the method is.

    settings: the recipe's group. regions: how regions are scored, for methods that need them. crf: of a dense CRF, for
    methods that use one themselves. num_classes: K. kept_as: name of the file that holds what `fit` learned, so that a
    cut run goes on with it and new photos can be labelled (`save`, `load`); empty: nothing is kept.
    """

    Settings: ClassVar[type[LabelSettings]] = LabelSettings
    name: str = ""
    needs: frozenset[str] = frozenset()
    calibration: Calibration = Calibration(Grid(reach=4))
    refined_calibration: Calibration = Calibration(Grid(reach=2))
    kept_as: ClassVar[str] = ""

    def __init__(
        self, settings: LabelSettings, *, regions: RegionSettings, num_classes: int, crf: CrfSettings | None = None
    ) -> None:
        self.settings, self.regions, self.num_classes = settings, regions, num_classes
        self.crf = crf or CrfSettings()

    @property
    def about(self) -> str:
        """One line on the method."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    @property
    def learns(self) -> bool:
        """Whether the method learns from all photos before it labels one."""
        return type(self).fit is not LabelMethod.fit

    @property
    def shareable(self) -> bool:
        """Whether processes can share the photos: not where what it learned or looks at may lie on a GPU."""
        return not self.learns and FEATURES not in self.needs

    @property
    def selecting(self) -> LabelMethod:
        """The method whose label maps a threshold is chosen for without masks: this one, or the one it learns from."""
        return self

    def fit(self, photos: Iterable[LabelInput], *, thresholds: Thresholds | None = None) -> None:
        """Learn from all photos that there are, before any is labelled. Every process of a run does this by itself, so
        it must be deterministic. A method that learns nothing does not look at them.

        thresholds: what the photos will be labelled at; None: not known yet, since it is being looked for.
        """
        del photos, thresholds

    def save(self, path: Path) -> None:
        """Write what `fit` learned, of methods that keep it (`kept_as`)."""
        raise NotImplementedError(f"{type(self).__name__} keeps nothing")

    def load(self, path: Path) -> None:
        """Take up what `save` wrote; labels are then exactly those of the method that was fitted. Raises UserError."""
        raise NotImplementedError(f"{type(self).__name__} keeps nothing")

    @abstractmethod
    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """Labels and the scores that speak for them, of any size (H,W).

        thresholds: the background threshold in 0..1, or one for each class, float32 (K,).
        """

    def scores(self, photo: LabelInput, thresholds: Sequence[float]) -> Iterator[Scored]:
        """`score` at one threshold after another. A method that can works out once what they share."""
        return (self.score(photo, threshold) for threshold in thresholds)

    def label(self, photo: LabelInput, thresholds: Thresholds) -> Labelled:
        """Labels and confidences of the photo's own size; unsure pixels are open where the settings say so."""
        labelled = self.decide(photo, self.score(photo, thresholds).resized(photo.size))
        least = self.settings.min_confidence
        return labelled.opened(least) if least > 0 else labelled

    def decide(self, photo: LabelInput, scored: Scored) -> Labelled:
        """Labels and confidences from scores of the photo's own size."""
        return scored.labelled

    def sweep(self, photo: LabelInput, thresholds: Sequence[float]) -> list[NDArray[np.uint8]]:
        """The labels, uint8 of the photo's own size, at each of `thresholds`, none left open, without confidences."""
        return [nearest(scored.labels, photo.size) for scored in self.scores(photo, thresholds)]


def check_thresholds(thresholds: Thresholds, *, num_classes: int) -> None:
    """Raise UserError unless there is one threshold, or one for each class, in 0..1."""
    given = np.asarray(thresholds)
    if given.ndim and given.shape != (num_classes,):
        raise UserError(
            f"{given.size} background thresholds for {num_classes} classes; give one, or one for each class"
        )
    if not ((given >= 0) & (given <= 1)).all():
        raise UserError("a background threshold is outside 0..1")
