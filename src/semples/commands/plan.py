"""The command that says what a run will cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from semples.commands.options import Data, Out, Set

if TYPE_CHECKING:
    from semples import Run
    from semples.run.planning.plan import Plan


def plan(
    recipe: str,
    *,
    data: Data,
    out: Out,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    until: str | None = None,
    tags: Path | None = None,
    classes: Path | None = None,
    budget: str | None = None,
    json: Path | None = None,
) -> None:
    """Say what `semples run` with the same arguments will cost: time, memory, disk, downloads; and check what it needs.

    A few real steps of every stage are timed on this machine, as busy as it is, and scaled to all. Missing models are
    downloaded. Nothing is written into the run's folder.

    Parameters
    ----------
    recipe
        shipped recipe (voc, coco, folder, demo) or a YAML file.
    data
        folder with the photos: VOC layout, or photos with a tags file, or archives; a Parquet file or a folder of
        them; a dataset of the Hugging Face hub (hf://owner/name).
    out
        folder of the run.
    settings
        change a setting, `key=value`, for example matching.batch=10; may be repeated.
    from_
        as if this step and all after it were made anew.
    until
        stop after this step.
    tags
        tags file (CSV or JSON) in place of the one in the folder.
    classes
        class list, `name` or `name,prompt word` a line.
    budget
        time that the run may take, for example 2h: says with how many steps it does.
    json
        file that gets the figures too.
    """
    from semples import Run, terminal
    from semples.core.files import write_json
    from semples.run.planning.budget import fitted, seconds_of
    from semples.run.planning.make import check_disk

    allowed = None if budget is None else seconds_of(budget)
    work = Run(out, data=data, recipe=recipe, settings=settings, tags=tags, classes=classes, tell=terminal.tell)
    made = work.plan(start=from_, until=until)
    made = made if allowed is None else fitted(made, allowed)
    if json is not None:
        write_json(json, made.to_dict())
    for line in made.lines():
        terminal.say(line)
    check_disk(work.context, made)


def within(work: Run, budget: str, *, start: str | None, until: str | None) -> list[str]:
    """Settings by which a run takes no longer than `budget`; those of an earlier call of the same run stay."""
    from semples.run.planning.budget import fitted, remember, remembered, seconds_of

    allowed = seconds_of(budget)
    known = remembered(work.folder, work.recipe, allowed)
    if known is not None:
        return known
    made = fitted(work.plan(start=start, until=until), allowed)
    work.folder.mkdir(parents=True, exist_ok=True)
    remember(work.folder, work.recipe, allowed, made)
    return list(made.settings)


def announced(made: Plan) -> None:
    """Print a plan, as the first lines of a run."""
    from semples import terminal

    for line in made.lines():
        terminal.tell(line)
