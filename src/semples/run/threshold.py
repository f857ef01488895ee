"""Where the background threshold of label maps comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.recipe import Recipe
from semples.run.names import BY_CORRECTIONS, BY_CORRECTIONS_FILE, CURVE, CURVE_FILE, SELECTION, SELECTION_FILE

if TYPE_CHECKING:
    from semples.run.context import Context
    from semples.run.work import Work

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


def step_before(recipe: Recipe) -> str | None:
    """The step that finds the threshold; None where the recipe says it."""
    return {"auto": SELECTION, "ground-truth": CURVE, "corrections": BY_CORRECTIONS}.get(recipe.labels.select)


def chosen_threshold(work: Work) -> Chosen:
    """The background threshold that the recipe asks for.

    Raises UserError where there are no masks to choose by, or where the choice without masks has not been made.
    """
    select = work.setting("labels.select")
    if select == "fixed":
        threshold, per_class = work.setting("labels.threshold"), work.setting("labels.class_thresholds")
        return Chosen(threshold) if per_class == "same" else Chosen(threshold, np.array(per_class, np.float32))
    if select == "ground-truth":
        curve = work.step(CURVE) / CURVE_FILE
        if not curve.is_file():
            raise UserError(NEEDS_MASKS)
        return Chosen(float(read_json(curve)["best"]["threshold"]))
    if select == "corrections":
        return Chosen(float(read_json(work.step(BY_CORRECTIONS) / BY_CORRECTIONS_FILE)["threshold"]))
    stored = read_json(work.step(SELECTION) / SELECTION_FILE)
    if not work.setting("labels.per_class"):
        return Chosen(float(stored["threshold"]))
    return Chosen(float(stored["threshold"]), np.array(list(stored["per_class"].values()), np.float32))


def thresholds_of_classes(given: Sequence[str], names: Sequence[str], *, other: float) -> list[float]:
    """A threshold a class, in the order of `names`, from `name=value` texts; `other` for classes not given.

    Raises UserError for an unknown class and for a value that is no number in 0..1.
    """
    by_name = dict.fromkeys(names, other)
    for text in given:
        name, equals, value = text.rpartition("=")
        if not equals or name not in by_name:
            raise UserError(f"--class-threshold {text}: write name=value with a class of {', '.join(names)}")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise UserError(f"--class-threshold {text}: {value!r} is no number from 0 to 1")
        by_name[name] = number
    return list(by_name.values())
