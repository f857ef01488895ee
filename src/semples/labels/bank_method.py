"""Label maps by a region bank: what another method got wrong in one photo is put right by all the others.

`fit` makes label maps by the method `before`, at the threshold chosen for it, and keeps the features of their regions
(`labels.bank`). A photo's regions are then named by their nearest neighbours in other photos, tags respected: no other
class is given, and where one would get lost the photo keeps the map that it had. What was
learned is one safetensors file, by which photos without tags are segmented too (`named` without tags).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from semples.core.errors import UserError
from semples.core.schema import to_dict
from semples.core.tensorfile import write_tensors
from semples.data.photos import reduced
from semples.labels.bank import Entries, Features, RegionBank, entries_of
from semples.labels.base import FEATURES, REGIONS, LabelInput, LabelMethod
from semples.labels.make import make_label_method
from semples.labels.proposals.base import Proposer, combination, make_proposer
from semples.labels.regions import Combine, Regions
from semples.labels.scored import Scored, Thresholds, nearest
from semples.settings.bank import BankLabelSettings
from semples.settings.kinds import label_method, label_settings
from semples.settings.labels import LabelSettings, SlicSettings

ABOUT_KEY = "bank"


class Bank(LabelMethod):
    """Regions named by the nearest regions of all photos; the maps they learn from are another method's."""

    Settings = BankLabelSettings
    name = "bank"
    needs = frozenset({REGIONS, FEATURES})
    kept_as = "bank.safetensors"

    bank: RegionBank | None = None
    places: dict[str, int]

    @property
    def chosen(self) -> BankLabelSettings:
        """The settings."""
        assert isinstance(self.settings, BankLabelSettings)
        return self.settings

    @cached_property
    def before(self) -> LabelMethod:
        """The method whose maps the bank is made of. Raises UserError where it would be a bank too."""
        name = self.chosen.before
        if label_method(name)[0] == label_method(self.chosen.method)[0]:
            raise UserError(f"labels.before {name}: a bank is made of the maps of another method, such as regions+crf")
        common = {entry.name: getattr(self.settings, entry.name) for entry in fields(LabelSettings)}
        settings = label_settings(name)(**common | {"method": name, "min_confidence": 0.0})
        return make_label_method(settings, regions=self.regions, crf=self.crf, num_classes=self.num_classes)

    @property
    def selecting(self) -> LabelMethod:
        """The method before: its threshold is what is looked for."""
        return self.before.selecting

    def fit(self, photos: Iterable[LabelInput], *, thresholds: Thresholds | None = None) -> None:
        """Make the bank of the maps of `before` at `thresholds`. Raises UserError where no region has a label."""
        at = self.settings.threshold if thresholds is None else thresholds
        ids: list[str] = []

        def entries() -> Iterator[Entries]:
            for photo in photos:
                ids.append(photo.id)
                regions = self._outlines(photo)
                labels = nearest(self.before.label(photo, at).labels, regions.shape)
                entered = entries_of(self._features(photo, regions), regions, labels, self.chosen)
                yield Entries(_rounded(entered.vectors), entered.values)

        self.bank = RegionBank.fit(entries(), self.chosen)
        self.places = {id: place for place, id in enumerate(ids)}

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """Shares of the votes of other photos' regions, of the size of the regions. The thresholds counted in `fit`.

        A photo in which the votes leave a tag without a pixel keeps the scores of `before`, at `thresholds`, where
        these have more of its tags: what is tagged is there, and neighbours that deny it do not know the class.
        """
        return self._kept(photo, thresholds, self.named(photo, tags=photo.tags))

    def scores(self, photo: LabelInput, thresholds: Sequence[float]) -> Iterator[Scored]:
        """As `score`, with votes that are counted once."""
        if thresholds:
            voted = self.named(photo, tags=photo.tags)
            yield from (self._kept(photo, threshold, voted) for threshold in thresholds)

    def _kept(self, photo: LabelInput, thresholds: Thresholds, voted: Scored) -> Scored:
        """The votes, or the scores of `before`."""
        if _shown(voted, photo.tags) == len(photo.tags):
            return voted
        earlier = self.before.score(photo, thresholds)
        return earlier if _shown(earlier, photo.tags) > _shown(voted, photo.tags) else voted

    def named(self, photo: LabelInput, *, tags: Sequence[int] | None) -> Scored:
        """Shares of the votes with the classes of `tags` as candidates; None: all that the bank has."""
        if self.bank is None:
            raise UserError("labels.method bank: it has learned from no photo yet")
        regions = self._outlines(photo)
        return self.bank.label(
            self._features(photo, regions),
            regions,
            tags=tags,
            without=self.places.get(photo.id),
            combine=self._combine,
        )

    # ---------------------------------------------------------------------------------------------------- what is seen

    @cached_property
    def _superpixels(self) -> Proposer:
        return make_proposer(SlicSettings(scales=(float(self.chosen.superpixels),), max_side=self.regions.max_side))

    @property
    def _combine(self) -> Combine:
        """How levels of regions go together."""
        if self.chosen.outlines == "superpixels":
            return self._superpixels.combine
        return combination(self.regions)

    def _outlines(self, photo: LabelInput) -> Regions:
        if self.chosen.outlines == "regions":
            return photo.regions()
        return self._superpixels(np.ascontiguousarray(reduced(photo.photo(), max_side=self.regions.max_side)))

    def _features(self, photo: LabelInput, regions: Regions) -> Features:
        values_hwC = photo.features()
        height, width, channels = values_hwC.shape
        stride = (regions.shape[0] / height, regions.shape[1] / width)
        return Features(np.ascontiguousarray(values_hwC.transpose(2, 0, 1)), stride, (channels,))

    # ------------------------------------------------------------------------------------------------------- its file

    def save(self, path: Path) -> None:
        """One safetensors file with all entries; what it is loaded to labels exactly alike."""
        assert self.bank is not None
        about = {"settings": to_dict(self.chosen), "classes": self.num_classes, "ids": list(self.places)}
        tensors = {
            "vectors": torch.from_numpy(self.bank.vectors).half(),  # as `fit` rounded them
            "values": torch.from_numpy(self.bank.values),
            "photos": torch.from_numpy(self.bank.photos),
        }
        write_tensors(path, tensors, about={ABOUT_KEY: json.dumps(about)})

    def load(self, path: Path) -> None:
        """What `save` wrote, of a bank with the same settings. Raises UserError for a file of another kind."""
        if not path.is_file():
            raise UserError(f"{path}: no such file; the step labels makes it: give the command of the run again")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {})[ABOUT_KEY])
                vectors, values, photos = (file.get_tensor(name) for name in ("vectors", "values", "photos"))
            bank = RegionBank(vectors.float().numpy(), values.numpy(), photos.numpy(), self.chosen)
            ids = [str(id) for id in about["ids"]]
            check_entries(bank, num_classes=self.num_classes, photos=len(ids))
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise UserError(f"{path}: not a region bank of these classes; make the label maps again") from None
        self.bank = bank
        self.places = {id: place for place, id in enumerate(ids)}


def _shown(scored: Scored, tags: Sequence[int]) -> int:
    """How many of a photo's tags have a pixel."""
    return int(np.isin(np.asarray(tags, np.int64) + 1, scored.labels).sum())


def _rounded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """As they will be once they were kept in half precision."""
    return vectors.astype(np.float16).astype(np.float32)


def check_entries(bank: RegionBank, *, num_classes: int, photos: int) -> None:
    """Raise ValueError where the parts of a bank do not belong together."""
    count = len(bank.values)
    if bank.vectors.ndim != 2 or bank.vectors.shape[0] != count or bank.photos.shape != (count,) or not count:
        raise ValueError("entries of different numbers")
    if bank.values.dtype != np.uint8 or bank.values.max() > num_classes or bank.photos.dtype != np.int64:
        raise ValueError("entries of classes that do not exist")
    if bank.photos.min() < 0 or bank.photos.max() >= photos or not np.isfinite(bank.vectors).all():
        raise ValueError("entries of photos that do not exist")
