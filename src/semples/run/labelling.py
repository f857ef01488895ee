"""The label method of a step at work, and what it is told of the run's photos."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import CamStore
from semples.data.dataset import Item
from semples.labels.base import FEATURES, REGIONS, LabelMethod, nothing_given
from semples.labels.make import make_label_method
from semples.labels.regions import Regions, read_regions
from semples.recipe import CrfSettings, RegionSettings
from semples.run.label_maps import FreshFeatures, Inputs
from semples.run.work import Work
from semples.settings.kinds import label_needs, uses_crf

# How the threshold is found: read where it is looked for (`run.threshold`), not where labels are drawn.
ABOUT_THRESHOLD = ("threshold", "select", "per_class", "class_thresholds")


def label_method(work: Work) -> LabelMethod:
    """The label method of the recipe, and all that it looks at."""
    settings = work.settings("labels", leave_out=ABOUT_THRESHOLD)
    regions = work.settings("regions") if REGIONS in label_needs(settings.method) else RegionSettings()
    crf = work.settings("crf") if uses_crf(settings) else CrfSettings()
    return make_label_method(settings, regions=regions, crf=crf, num_classes=len(work.dataset.classes))


def label_inputs(work: Work, needs: Collection[str]) -> Inputs:
    """What a label method is told of the run's photos that looks at `needs` (`LabelMethod.needs`)."""
    dataset = work.dataset
    regions: Callable[[Item], Regions] = _not_needed
    features: Callable[[Item], NDArray[np.float32]] = _not_needed
    # Read here, not when a photo is first asked for: where all photos are done already, the step depends on them too.
    if REGIONS in needs:
        regions = partial(_stored_regions, work.step("regions"))
    if FEATURES in needs:
        features = FreshFeatures(dataset, work.settings("features"), lambda: work.device)
    cams = CamStore(work.step("cams"), format=work.setting("cams.format"))
    return Inputs(dataset, cams, regions=regions, features=features)


def _stored_regions(folder: Path, item: Item) -> Regions:
    return read_regions(folder, item.id)


def _not_needed(item: Item) -> NoReturn:
    nothing_given()
