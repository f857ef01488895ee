"""Fit a run into the time that there is: fewer optimizer steps of every stage, as far as that still makes sense."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.progress import duration
from semples.core.schema import to_dict
from semples.recipe import Recipe
from semples.run.names import TRAINED
from semples.run.planning.plan import Plan, StepPlan

FILE = "budget.json"
LEAST = 0.25  # of the recipe's steps
UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
COST = (
    "on one drawn world of 300 photos half the steps cost 5 points of mIoU in the label maps and 3 in the segmenter, a "
    "quarter of the steps 8 and 4; smaller photos (generator.image_size, cams.max_side) and models save time as well"
)


def seconds_of(text: str) -> float:
    """`2h`, `90min`, `1h 30min`, `1.5h` in seconds. Raises UserError."""
    parts = re.findall(r"\s*(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*", text)
    if not parts or re.sub(r"\s*(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*", "", text):
        raise UserError(f"--budget {text[:40]}: write a time such as 2h, 90min or 1h30min")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < seconds < 1e8:
        raise UserError(f"--budget {text[:40]}: must be above 0 and below three years")
    return seconds


def fitted(plan: Plan, budget: float) -> Plan:
    """The plan with so few steps that it takes `budget` seconds by the clock; with the settings that make it so.

    Raises UserError where a quarter of the steps is still too much, or where nothing was measured.
    """
    if plan.wall is None:
        raise UserError("--budget: this run is too small to be timed; it takes a few minutes at most")
    if plan.wall <= budget:
        return plan
    trained = [step for step in plan.steps if step.step in TRAINED and step.count]
    training = sum(step.wall or 0.0 for step in trained)
    rest = plan.wall - training
    share = (budget - rest) / training if training > 0 else 0.0
    if share < LEAST:
        least = rest + LEAST * training
        raise UserError(
            f"--budget {duration(budget)}: with a quarter of the steps this run still takes about {duration(least)}; "
            "allow more, take fewer photos, or make them and the models smaller (generator.image_size, cams.max_side)"
        )
    counts = {step.step: max(1, int(step.count * share)) for step in trained}
    steps = tuple(_shortened(step, counts.get(step.step)) for step in plan.steps)
    settings = tuple(f"{name}.steps={count}" for name, count in counts.items())
    note = f"{share:.0%} of the recipe's steps; {COST}"
    return replace(plan, steps=steps, settings=settings, notes=(*plan.notes, note))


def _shortened(step: StepPlan, count: int | None) -> StepPlan:
    if count is None or not step.count or step.cpu is None or step.wall is None:
        return step
    share = count / step.count
    what = step.what.replace(f"{step.count} steps", f"{count} steps", 1)
    return replace(step, what=what, count=count, cpu=round(step.cpu * share, 2), wall=round(step.wall * share, 2))


def remembered(out: Path, recipe: Recipe, budget: float) -> list[str] | None:
    """The settings that this budget was met with before in this run, so that a second call goes on with the same ones;
    None where it was not."""
    try:
        known = read_json(out / FILE) if (out / FILE).is_file() else {}
        settings = known["settings"] if known.get("key") == _key(recipe, budget) else None
    except (UserError, LookupError, TypeError, AttributeError):
        return None
    return [str(setting) for setting in settings] if isinstance(settings, list) else None


def remember(out: Path, recipe: Recipe, budget: float, plan: Plan) -> None:
    """Write down by which settings the budget was met."""
    write_json(out / FILE, {"key": _key(recipe, budget), "settings": list(plan.settings)})


def _key(recipe: Recipe, budget: float) -> str:
    described = json.dumps([to_dict(recipe), budget], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()
