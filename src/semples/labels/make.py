"""Label methods by name, with `+crf` where a dense CRF follows."""

from __future__ import annotations

from semples.labels.base import Calibration, LabelMethod
from semples.labels.refined import Refined
from semples.settings.kinds import LABEL_METHODS, label_method
from semples.settings.labels import CrfSettings, LabelSettings, RegionSettings


def make_label_method(
    labels: LabelSettings, *, regions: RegionSettings, crf: CrfSettings, num_classes: int
) -> LabelMethod:
    """The label method of the recipe's groups, for K = `num_classes` classes. Raises UserError for an unknown one."""
    name, refines = label_method(labels.method)
    method: LabelMethod = LABEL_METHODS.load(name)(labels, regions=regions, num_classes=num_classes, crf=crf)
    return Refined(method, crf=crf) if refines else method


def calibration_of(method: str, *, stored: bool = False) -> Calibration:
    """What was measured for a method by its full name, such as `regions+crf`.

    stored: the name stands in a file (`Registry.load`). Raises UserError for an unknown one.
    """
    name, refines = label_method(method)
    chosen: type[LabelMethod] = LABEL_METHODS.load(name, stored=stored)
    return chosen.refined_calibration if refines else chosen.calibration
