"""Label maps of many photos: what a label method is told of each, and the files it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import Cams, CamStore
from semples.core.errors import UnusableFile, UserError
from semples.core.palette import write_confidence_png, write_label_png
from semples.core.places import number, place_of
from semples.core.progress import track
from semples.data.dataset import Item, TaggedDataset
from semples.data.photos import reduced
from semples.labels.base import LabelInput, LabelMethod, check_thresholds
from semples.labels.proposals.base import make_proposer
from semples.labels.regions import Regions
from semples.labels.scored import IGNORE, MAX_CLASS, Labelled, Thresholds
from semples.recipe import FeatureSettings, RegionSettings
from semples.run.pool import pooled
from semples.settings.kinds import PROPOSALS

if TYPE_CHECKING:
    import torch

    from semples.features.base import Features

CONFIDENCE = "confidence"  # folder below the label maps

T = TypeVar("T")


def attempt(work: Callable[[], T], broken: list[str] | None) -> T | None:
    """What `work` answers; None, and a line for `broken`, where a file is of no use. Without `broken` that raises."""
    try:
        return work()
    except UnusableFile as error:
        if broken is None:
            raise
        broken.append(str(error))
        return None


def check_names(items: Iterable[Item]) -> None:
    """Refuse photos whose label maps would lie where the confidences are."""
    for item in items:
        if item.id.split("/")[0] == CONFIDENCE:
            raise UserError(f"photo {item.id}: label maps keep a folder {CONFIDENCE}; rename the photos' folder")


def read_cams(
    store: CamStore, item: Item, shape: tuple[int, ...], *, classes: int = MAX_CLASS + 1
) -> tuple[Cams, tuple[int, int]]:
    """CAMs of a stored photo, one of `classes`, and their (H,W); `shape` stands in where the file has no size.

    Raises UnusableFile naming a file that is missing, broken, or of other classes.
    """
    cams, stored = store.read_with_shape(item.id)
    for index in cams:
        if not 0 <= index < classes:
            raise UnusableFile(f"CAMs of {item.id}: class index {index} is outside 0..{classes - 1}, the class list")
    return cams, stored or (shape[0], shape[1])


@dataclass(frozen=True)
class Inputs:
    """What a label method is told of a dataset's photos.

    regions, features: of a photo; asked only where the method needs them.
    """

    dataset: TaggedDataset
    store: CamStore
    regions: Callable[[Item], Regions]
    features: Callable[[Item], NDArray[np.float32]]

    def of(self, item: Item, *, size: tuple[int, int]) -> LabelInput:
        """For labels of the photo's own `size` (H,W)."""
        return self._told(item, size, partial(self.dataset.photo, item))

    def shown(self, item: Item, photo: NDArray[np.uint8]) -> LabelInput:
        """For labels of the size of `photo`, uint8 (H,W,3), which may be smaller than the photo itself."""
        return self._told(item, (photo.shape[0], photo.shape[1]), lambda: photo)

    def _told(self, item: Item, size: tuple[int, int], photo: Callable[[], NDArray[np.uint8]]) -> LabelInput:
        cams, shape = read_cams(self.store, item, size, classes=len(self.dataset.classes))
        return LabelInput(
            id=item.id,
            cams=cams,
            shape=shape,
            size=size,
            tags=item.possible,
            photo=photo,
            regions=partial(self.regions, item),
            features=partial(self.features, item),
        )


def no_device() -> NoReturn:
    """The device of processes that share work which no network does."""
    raise AssertionError("a network was asked for in a process without a device")


@dataclass(frozen=True)
class FreshRegions:
    """The regions of photos, made when they are asked for and not stored."""

    dataset: TaggedDataset
    settings: RegionSettings
    device: Callable[[], torch.device]

    @cached_property
    def propose(self) -> Callable[[NDArray[np.uint8]], Regions]:
        """What makes the regions of a photo, uint8 (H,W,3), at the size that `settings.max_side` allows."""
        return proposer(self.settings, self.device)

    def __call__(self, item: Item) -> Regions:
        return self.propose(self.dataset.photo(item))

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which uses no device and makes what proposes by itself."""
        return {"dataset": self.dataset, "settings": self.settings, "device": no_device}


def superpixels_unless_named(settings: Sequence[str]) -> list[str]:
    """Settings that take superpixels, which need no weights, for regions; none where `settings` name who proposes."""
    if any(entry.partition("=")[0].strip() in ("regions.model", "regions.proposals") for entry in settings):
        return []
    return ["regions.proposals=felzenszwalb", "regions.background=threshold"]


def proposer(settings: RegionSettings, device: Callable[[], torch.device]) -> Callable[[NDArray[np.uint8]], Regions]:
    """What makes the regions of a photo, uint8 (H,W,3), at the size that `settings.max_side` allows."""
    networked = PROPOSALS.load(settings.proposals).has_network
    propose = make_proposer(settings, device=device() if networked else None)
    return lambda photo: propose(reduced(photo, max_side=settings.max_side))


@dataclass(frozen=True)
class FreshFeatures:
    """The frozen features of photos, made when they are asked for and not stored."""

    dataset: TaggedDataset
    settings: FeatureSettings
    device: Callable[[], torch.device]

    @cached_property
    def _network(self) -> Features:
        from semples.features.base import make_features

        return make_features(self.settings, device=self.device())

    def __call__(self, item: Item) -> NDArray[np.float32]:
        return self._network(self.dataset.photo(item))


def number_maps(folder: Path, items: Sequence[Item]) -> None:
    """Make ready for label maps and confidences of `items`, all photos of the data set (`core.places.number`)."""
    ids = [item.id for item in items]
    number(folder, ids, suffix=".png", leave_out=(CONFIDENCE,))
    number(folder / CONFIDENCE, ids, suffix=".png")


def has_labels(folder: Path, item: Item) -> bool:
    """Whether `write_labels` has written both files of a photo."""
    return all(place_of(place, item.id, ".png").is_file() for place in (folder, folder / CONFIDENCE))


def left_open(labelled: Labelled, item: Item) -> Labelled:
    """The labels with those of classes that a photo's tags leave open as 255, with no confidence."""
    if not item.open:
        return labelled
    unsure = np.isin(labelled.labels, np.array(item.open, np.uint8) + 1)
    labels = np.where(unsure, np.uint8(IGNORE), labelled.labels)
    return Labelled(labels, np.where(unsure, np.float32(0), labelled.confidence))


def write_corrected(folder: Path, item: Item, labels: NDArray[np.uint8]) -> None:
    """A photo's labels (H,W) as a person has corrected them, in place of those that are made; sure of every pixel."""
    write_confidence_png(place_of(folder / CONFIDENCE, item.id, ".png"), np.ones(labels.shape, np.float32))
    write_label_png(place_of(folder, item.id, ".png"), labels)


def write_labels(
    items: Sequence[Item],
    inputs: Inputs,
    folder: Path,
    *,
    method: LabelMethod,
    thresholds: Thresholds,
    size: Callable[[Item], tuple[int, int]],
    broken: list[str] | None = None,
    workers: int = 0,
    resume: bool = False,
) -> None:
    """Labels `folder`/ID.png and confidences `folder`/confidence/ID.png, of the photo's own size, for all of `items`.

    size: (width, height) of a photo. `broken`: gets a line a photo or CAM file of no use; without it the first one
    raises UnusableFile. workers: processes that share the photos, where the method asks for no network of its own. What
    a method learns and keeps (`LabelMethod.kept_as`) becomes a file in `folder`; resume: one that is there is of these
    photos and settings.
    """
    check_names(items)
    check_thresholds(thresholds, num_classes=len(inputs.dataset.classes))
    number_maps(folder, inputs.dataset.items)

    told = _Told(inputs, size)
    kept = folder / method.kept_as if method.kept_as else None
    if method.learns and (items or kept is not None) and not (resume and _taken_up(method, kept)):
        skipped = None if broken is None else list[str]()  # those to be labelled come up again
        everyone = (attempt(partial(told, item), skipped) for item in inputs.dataset.items)
        method.fit((one for one in everyone if one is not None), thresholds=thresholds)
        if kept is not None:
            method.save(kept)

    write = _Write(folder, told, method, thresholds, tolerant=broken is not None)
    written = pooled(write, items, workers=workers if method.shareable else 0)
    for lines in track(written, label="labels", total=len(items)):
        if broken is not None:
            broken += lines


@dataclass(frozen=True)
class _Told:
    """What a label method is told of a photo, for labels of its own size."""

    inputs: Inputs
    size: Callable[[Item], tuple[int, int]]

    def __call__(self, item: Item) -> LabelInput:
        width, height = self.size(item)
        return self.inputs.of(item, size=(height, width))


@dataclass(frozen=True)
class _Write:
    """Makes and writes the two files of a photo; answers with lines on files of no use, which raise unless `tolerant`.

    A process that is no copy of this one gets it pickled.
    """

    folder: Path
    told: _Told
    method: LabelMethod
    thresholds: Thresholds
    tolerant: bool

    def __call__(self, item: Item) -> list[str]:
        lines = list[str]() if self.tolerant else None
        labelled = attempt(lambda: self.method.label(self.told(item), self.thresholds), lines)
        if labelled is not None:
            labelled = left_open(labelled, item)
            write_confidence_png(place_of(self.folder / CONFIDENCE, item.id, ".png"), labelled.confidence)
            write_label_png(place_of(self.folder, item.id, ".png"), labelled.labels)
        return lines or []


def _taken_up(method: LabelMethod, kept: Path | None) -> bool:
    """Whether the method has what it learned before from its file; a damaged one is made again."""
    if kept is None or not kept.is_file():
        return False
    try:
        method.load(kept)
    except UserError:
        return False
    return True
