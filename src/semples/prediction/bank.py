"""A run's region bank as a model: photos without tags are segmented with no training at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import sha256_file
from semples.core.schema import to_dict
from semples.data.photos import reduced
from semples.features.base import make_features
from semples.labels.bank_method import Bank
from semples.labels.base import LabelInput
from semples.labels.crf.dense import DenseCrf
from semples.labels.make import make_label_method
from semples.labels.refined import refined
from semples.labels.scored import Scored
from semples.networks.weights import source_digest
from semples.prediction.model import PICTURE_SIDE, Model, Prepared
from semples.prediction.photos import Tags
from semples.prediction.refine import resized
from semples.prediction.scores import Segmented
from semples.prediction.settings import PredictSettings
from semples.recipe import Recipe
from semples.run.folder import open_run
from semples.run.label_maps import proposer
from semples.run.names import BANK
from semples.run.records import read_manifest
from semples.settings.kinds import has_crf, label_method, without_crf

NOT_OF_A_BANK = ("scales", "mirror", "window", "stride")


class BankModel(Model):
    """A region bank. Scores are the shares of votes at every pixel (`labels.scored.Scored`); with tags, only those
    classes are candidates.

    bank: has learned. recipe: of the run that it is of. identity: what tells its file from another.
    """

    def __init__(
        self,
        bank: Bank,
        classes: Sequence[str],
        *,
        settings: PredictSettings,
        identity: dict[str, Any],
        recipe: Recipe,
    ) -> None:
        super().__init__(classes, settings=settings, identity=identity)
        given = [name for name in NOT_OF_A_BANK if getattr(settings, name) is not None]
        if given:
            raise UserError(f"predict: a region bank sees a photo once, as a whole; leave --{given[0]} out")
        self.together = 1
        self._bank, self._side = bank, recipe.regions.max_side
        self._features = make_features(recipe.features, device=self.device)
        self._propose = proposer(recipe.regions, lambda: self.device) if bank.chosen.outlines == "regions" else None
        wanted = has_crf(recipe.labels.method) if settings.crf is None else settings.crf
        self._crf = DenseCrf(recipe.crf) if wanted else None

    def prepare(self, photo: NDArray[np.uint8]) -> Prepared:
        small = np.ascontiguousarray(reduced(photo, max_side=self._side))
        picture = reduced(photo, max_side=PICTURE_SIDE)
        return Prepared((torch.from_numpy(small),), (photo.shape[0], photo.shape[1]), picture)

    def score(self, batch: Sequence[Prepared], tags: Sequence[Tags]) -> list[Scored]:
        """The bank's votes, of the size of the photo that `prepare` made."""
        with self._network():
            return [
                self._scored(prepared.inputs[0].numpy(), known) for prepared, known in zip(batch, tags, strict=True)
            ]

    def _scored(self, photo: NDArray[np.uint8], tags: Tags) -> Scored:
        size = (photo.shape[0], photo.shape[1])
        told = LabelInput(
            id="",
            cams={},
            shape=size,
            size=size,
            tags=tags or (),
            photo=lambda: photo,
            regions=lambda: self._propose(photo),  # type: ignore[misc]
            features=lambda: self._features(photo),
        )
        return self._bank.named(told, tags=tags).resized(size)

    def _segmented(self, prepared: Prepared, scores: Scored, tags: Tags) -> Segmented:
        labelled = scores.labelled
        if self._crf is not None:
            occurring = tuple(int(value) - 1 for value in np.unique(scores.labels) if value)
            allowed = occurring if tags is None else tuple(tags)
            labelled = refined(self._crf, scores, photo=prepared.inputs[0].numpy(), tags=allowed)
        confidence = np.asarray(labelled.confidence, np.float32) if self.confident else None
        return resized(Segmented(labelled.labels, confidence), prepared.size)


def bank_model(folder: Path, settings: PredictSettings) -> BankModel:
    """The region bank of a run's label maps.

    Raises UserError where the label maps are not made by a bank or not finished, and where the features come from other
    weights than it was made with.
    """
    context = open_run(folder)
    recipe = context.recipe
    if not issubclass(type(recipe.labels), Bank.Settings):
        raise UserError(
            f"{folder}: its label maps are made by {recipe.labels.method}, which leaves no region bank; make them "
            f"again: semples label {folder} --method bank+crf"
        )
    labels = context.folder("labels")
    manifest = read_manifest(labels)
    if manifest is None:
        raise UserError(f"{folder}: its label maps are not finished; see semples status {folder}")
    for key, digest in manifest["reads"].items():
        source = key.removeprefix("weights:")
        if source == getattr(recipe.features, "model", None) and source != key and source_digest(source) != digest:
            raise UserError(f"{folder}: the weights {source} have changed since the bank was made; make it again")
    classes = context.dataset.classes.names
    name = label_method(recipe.labels.method)[0]
    plain = replace(recipe.labels, method=without_crf(recipe.labels.method), min_confidence=0.0)
    bank = make_label_method(plain, regions=recipe.regions, crf=recipe.crf, num_classes=len(classes))
    if not isinstance(bank, Bank):
        raise UserError(f"{folder}: labels.method {name} leaves no region bank")
    path = labels / BANK
    bank.load(path)
    groups = {"crf": to_dict(recipe.crf), "features": to_dict(recipe.features), "regions": to_dict(recipe.regions)}
    identity = {"bank": sha256_file(path), "labels": to_dict(recipe.labels), **groups}
    return BankModel(bank, classes, settings=settings, identity=identity, recipe=recipe)
