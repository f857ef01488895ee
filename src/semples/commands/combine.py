"""The command that makes one folder of label maps of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from semples.core.errors import Incomplete


def combine(
    run: Path,
    *sources: str,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    by: Literal["confidence", "vote"] = "confidence",
    weights: Annotated[list[float], Parameter(name="--weight", negative=(), consume_multiple=False)] = [],  # noqa: B006
    agree: int = 1,
    json: Path | None = None,
) -> None:
    """Combine label maps of a run's photos from two or more folders, and score the result.

    `semples segment train` learns from any such folder. Ends with status 1 where a photo could not be used.

    Parameters
    ----------
    run
        folder of a run.
    sources
        folders of label maps, two or more: of the run (labels, baselines/clipseg) or any other.
    out
        folder for the combined maps; default: combined in the run's folder.
    by
        what a source gives to its label: its confidence there, or one vote.
    weights
        what the sources count, one each in their order; may be repeated. Default: alike.
    agree
        pixels that fewer sources agree on are left open (255).
    json
        file that gets the scores too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.run import pipeline
    from semples.run.combine import DEFAULT, combine_run, source_folder

    context = pipeline.open_run(run)
    folder = out or context.out / DEFAULT
    folders = [source_folder(context, source) for source in sources]
    problems, scores = combine_run(context, folders, folder, by=by, weights=weights or None, agree=agree)
    names = context.dataset.classes.names
    figures = pipeline.Figures(names, None, None if scores is None else scores.as_json(names), tuple(problems))
    if json is not None:
        write_json(json, figures.as_json())
    terminal.say(f"label maps combined of {len(folders)} folders: {folder}")
    terminal.print_scores(figures)
    terminal.print_set_aside(problems)
    if problems:
        raise Incomplete.of(problems, done="the other photos have label maps")
