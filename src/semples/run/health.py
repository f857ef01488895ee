"""What the looks after a run's stages tell: verdicts by stage, and the tags that the photos themselves doubt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from semples.core.errors import UserError
from semples.core.plain import plain
from semples.run.advice import go_on
from semples.run.context import Context
from semples.run.names import HEALTH, PREDICTIONS, health_name
from semples.run.records import read_manifest

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


@dataclass(frozen=True)
class TagPredictions:
    """What photos alone say of tags. photos: n names; probability_nK: of every class in every photo, float32, from the
    other photos' tags (`evaluation.tagging.left_out`)."""

    photos: tuple[str, ...]
    probability_nK: NDArray[np.float32]


def tag_predictions(context: Context) -> TagPredictions:
    """The stored predictions of a run. Raises UserError where they are not made yet."""
    folder = context.folder(health_name("data"))
    path = folder / PREDICTIONS
    if read_manifest(folder) is None or not path.is_file():
        raise UserError(
            f"{context.out}: the tags of this run are not predicted yet; first: `{go_on(context.out, context.source)}`"
        )
    with np.load(path, allow_pickle=False) as stored:
        return TagPredictions(tuple(str(name) for name in stored["photo"]), stored["probability"])


@dataclass(frozen=True)
class DoubtfulTag:
    """A tag that a photo has (`tagged`) or lacks, and the chance, 0..1, that this is wrong."""

    photo: str
    name: str
    tagged: bool
    doubt: float


def doubtful_table(tags: Sequence[DoubtfulTag]) -> Table:
    """A row a tag, in their order."""
    table = Table("photo", "tag", "now", "chance that this is wrong")
    for tag in tags:
        given = "given" if tag.tagged else "not given"
        table.add_row(Text(plain(tag.photo)), Text(plain(tag.name)), given, f"{tag.doubt:.0%}")
    return table


def doubtful_tags(context: Context, *, count: int) -> list[DoubtfulTag]:
    """The `count` tags of a run that are most worth a look, the likeliest mistakes first; those left open are none."""
    predictions, names = tag_predictions(context), context.dataset.classes.names
    items = {item.id: item for item in context.dataset.items}
    rows: list[DoubtfulTag] = []
    for photo, row in zip(predictions.photos, predictions.probability_nK, strict=True):
        item = items.get(photo)
        for index, (name, chance) in enumerate(zip(names, row, strict=True)):
            tagged = item is not None and index in item.tags
            if item is None or index not in item.open:  # what is left open says nothing that could be wrong
                rows.append(DoubtfulTag(photo, name, tagged, float(1 - chance if tagged else chance)))
    return sorted(rows, key=lambda tag: (-tag.doubt, tag.photo, tag.name))[:count]
