"""Where the background threshold of label maps comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.schema import leaves, to_dict
from semples.labels.base import FEATURES, REGIONS
from semples.networks.weights import source_digest
from semples.recipe import FeatureSettings
from semples.run.context import Context
from semples.run.steps.data import mask_inputs
from semples.settings.kinds import has_crf, label_needs

SELECTION, SELECTION_FILE = "selection", "selection.json"
CURVE, CURVE_FILE = "curve", "curve.json"
NEEDS_MASKS = "labels.select ground-truth needs masks, and no photo has one; use labels.select auto or fixed"


@dataclass(frozen=True)
class Chosen:
    """The threshold of a run's label maps; per_class: float32 (K,) where every class has its own."""

    threshold: float
    per_class: NDArray[np.float32] | None = None

    @property
    def applied(self) -> float | NDArray[np.float32]:
        """What label maps are made with."""
        return self.threshold if self.per_class is None else self.per_class


def check_selection(context: Context) -> None:
    """Refuse before hours of training what cannot be answered after them."""
    settings = context.recipe.labels
    if settings.select == "ground-truth" and not any(item.mask for item in context.listing.items):
        raise UserError(NEEDS_MASKS)


def step_before(context: Context) -> str | None:
    """The step that finds the threshold; None where the recipe says it."""
    return {"auto": SELECTION, "ground-truth": CURVE}.get(context.recipe.labels.select)


def selection_inputs(context: Context) -> dict[str, Any]:
    """Everything that a choice without masks depends on, beside photos, tags and CAMs."""
    recipe = context.recipe
    found: dict[str, Any] = {"selection": to_dict(recipe.selection), "seed": recipe.run.seed}
    found["method"] = recipe.labels.method
    if REGIONS in label_needs(recipe.labels.method):
        found["regions"] = {"background": recipe.regions.background, "combine": recipe.regions.combine}
    if FEATURES in label_needs(recipe.labels.method):
        found["features"] = features_inputs(recipe.features)
    if has_crf(recipe.labels.method):
        found["crf"] = to_dict(recipe.crf)
    found |= {"clip": to_dict(recipe.clip), "clip_model": source_digest(recipe.clip.model)}
    return found | {"views": [recipe.generator.mean, recipe.generator.std, recipe.cams.max_side]}


def features_inputs(settings: FeatureSettings) -> dict[str, Any]:
    """What frozen features depend on."""
    read = dict(leaves(settings, neutral=False))
    return read | ({"model": source_digest(read["model"])} if "model" in read else {})


def threshold_inputs(context: Context) -> dict[str, Any]:
    """What the threshold of the label maps depends on."""
    settings = context.recipe.labels
    if settings.select == "fixed":
        own = {} if settings.class_thresholds == "same" else {"class_thresholds": list(settings.class_thresholds)}
        return {"select": "fixed", "threshold": settings.threshold} | own
    if settings.select == "ground-truth":
        return {"select": "ground-truth"} | mask_inputs(context) | to_dict(context.recipe.scores)
    return {"select": "auto", "per_class": settings.per_class, "by": selection_inputs(context)}


def chosen_threshold(context: Context) -> Chosen:
    """The background threshold that the recipe asks for.

    Raises UserError where there are no masks to choose by, or where the choice without masks has not been made.
    """
    settings = context.recipe.labels
    if settings.select == "fixed":
        if settings.class_thresholds == "same":
            return Chosen(settings.threshold)
        return Chosen(settings.threshold, np.array(settings.class_thresholds, np.float32))
    if settings.select == "ground-truth":
        curve = context.folder(CURVE) / CURVE_FILE
        if not curve.is_file():
            raise UserError(NEEDS_MASKS)
        return Chosen(float(read_json(curve)["best"]["threshold"]))
    found = context.folder(SELECTION) / SELECTION_FILE
    if not found.is_file():
        raise UserError(
            f"{found}: no such file; the step {SELECTION} chooses the threshold: run it, or use labels.select fixed"
        )
    stored = read_json(found)
    if not settings.per_class:
        return Chosen(float(stored["threshold"]))
    own = stored["per_class"].values()
    return Chosen(float(stored["threshold"]), np.array(list(own), np.float32))


def thresholds_of_classes(given: Sequence[str], names: Sequence[str], *, other: float) -> list[float]:
    """A threshold a class, in the order of `names`, from `name=value` texts; `other` for classes not given.

    Raises UserError for an unknown class and for a value that is no number in 0..1.
    """
    found = dict.fromkeys(names, other)
    for text in given:
        name, equals, value = text.rpartition("=")
        if not equals or name not in found:
            raise UserError(f"--class-threshold {text}: write name=value with a class of {', '.join(names)}")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise UserError(f"--class-threshold {text}: {value!r} is no number from 0 to 1")
        found[name] = number
    return list(found.values())
