"""What the looks after a run's stages tell: verdicts by stage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from rich.console import Group
from rich.table import Table
from rich.text import Text

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.plain import plain
from semples.run.context import Context
from semples.run.names import HEALTH, RECORD, health_name

TITLES = {
    "data": "tags and judge",
    "warmup": "warm-up",
    "matching": "(a) matching",
    "prompting": "(b) prompting",
    "refinement": "(c) refinement",
    "cams": "CAMs",
    "segmenter": "segmenter",
}


class Finished(Protocol):
    """A step with its figures: an `Outcome` or a `StepStatus`."""

    @property
    def step(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def result(self) -> dict[str, Any]: ...


def is_look(step: str) -> bool:
    """Whether a step looks after another."""
    return step.startswith(f"{HEALTH}-")


def verdicts(steps: Iterable[Finished]) -> dict[str, dict[str, Any]]:
    """By stage what its look tells: `grade` (good, doubtful, failed), `why`, `advice`, `figures`; looks that
    are not up to date are left out."""
    looks = [step for step in steps if is_look(step.step) and step.state in ("done", "up to date")]
    return {
        str(look.result["of"]): {key: look.result[key] for key in ("grade", "why", "advice", "figures")}
        for look in looks
    }


def said(verdict: dict[str, Any]) -> str:
    """A verdict in one line."""
    line = f"{verdict['grade']}: {verdict['why']}"
    return f"{line}; {verdict['advice']}" if verdict["advice"] else line


def shown(steps: Iterable[Finished]) -> Group:
    """A table with a row a stage, its verdict and why, and lines on what to do where it is not good; nothing where no
    stage was looked at."""
    by_stage = verdicts(steps)
    if not by_stage:
        return Group()
    table = Table("health of", "", "why")
    for of, verdict in by_stage.items():
        table.add_row(TITLES[of], verdict["grade"], Text(plain(verdict["why"])))
    todo = [f"{TITLES[of]}: {verdict['advice']}" for of, verdict in by_stage.items() if verdict["advice"]]
    return Group(table, *(Text(plain(line)) for line in todo))


def looked_at(context: Context, of: str) -> dict[str, Any]:
    """The figures of a look, empty where there is none."""
    path = context.folder(health_name(of)) / RECORD
    try:
        stored = read_json(path)["figures"] if path.is_file() else {}
    except (UserError, LookupError, TypeError):
        return {}
    return stored if isinstance(stored, dict) else {}
