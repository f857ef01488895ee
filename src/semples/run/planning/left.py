"""The time that is left of a run, by its plan and by what its steps have really taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.progress import duration
from semples.run.planning.plan import Plan

if TYPE_CHECKING:
    from semples.run.graph import Outcome, StepStatus

FILE = "plan.json"
SHORT = 30.0  # seconds below which nothing is said


def seconds_left(planned: Mapping[str, float], taken: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """Seconds that the planned steps will still take, corrected by how much longer or shorter the finished ones took.

    planned: seconds by step. taken: real seconds of those that are done. shares: how much of the others is there, 0..1.
    """
    done = [step for step in planned if step in taken]
    before = sum(planned[step] for step in done)
    factor = sum(taken[step] for step in done) / before if before > 0 else 1.0
    return factor * sum(planned[step] * (1 - shares.get(step, 0.0)) for step in planned if step not in taken)


def stored(out: Path) -> dict[str, float]:
    """Planned seconds by step, as `Clock.follow` has written them; empty where there are none of use."""
    try:
        rows = read_json(out / FILE)["steps"] if (out / FILE).is_file() else []
        return {str(row["step"]): float(row["wall"]) for row in rows if row["wall"] is not None}
    except (UserError, LookupError, TypeError, ValueError):
        return {}


def line_of_status(out: Path, statuses: list[StepStatus]) -> str | None:
    """What is left of a run that is not done, in words; None where nothing is known of it."""
    planned = stored(out)
    done = {entry.step: entry.seconds for entry in statuses if entry.state == "done" and entry.seconds is not None}
    shares = {entry.step: entry.share for entry in statuses if entry.share is not None}
    left = seconds_left(planned, done, shares)
    return f"about {duration(left)} left, by its plan and the steps so far" if left > SHORT else None


class Clock:
    """Says after every finished step how long the others will take. tell: gets the lines."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.planned: dict[str, float] = {}
        self.taken: dict[str, float] = {}

    def follow(self, plan: Plan, out: Path) -> None:
        """Go by this plan, which is written down for `semples status`; not by one that was not measured."""
        self.planned = {step.step: step.wall for step in plan.steps if step.wall is not None}
        if self.planned:
            write_json(out / FILE, plan.to_dict())

    def __call__(self, outcome: Outcome) -> None:
        if outcome.state == "done":
            self.taken[outcome.step] = outcome.seconds
        left = seconds_left(self.planned, self.taken, {})
        if outcome.step in self.planned and left > SHORT:
            self.tell(f"about {duration(left)} left")
