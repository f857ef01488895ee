"""Commands that compare a run with other models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from semples.commands.options import Set
from semples.core.errors import Incomplete


def baseline(
    run: Path,
    *,
    model: str,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
    json: Path | None = None,
) -> None:
    """Label a run's photos by another model that reads class names, and score that as the run's own label maps.

    A second call keeps the maps that are there. Ends with status 1 where a photo or mask could not be used.

    Parameters
    ----------
    run
        folder of a run; its photos and tags are used, and only tagged classes may occur.
    model
        CLIPSeg, GroundingDINO+SAM, SAM3 (in capitals or not), or package.module:Name; NAME=SOURCE takes the weights of
        another hub id or folder.
    out
        folder for the label maps; default: baselines/NAME in the run's folder.
    settings
        change a setting of the baseline, `key=value`, for example threshold=0.3; may be repeated.
    json
        file that gets the scores too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.run import pipeline
    from semples.run.baseline import baseline_settings, folder_of, label_run

    chosen = baseline_settings(model, settings)
    context = pipeline.open_run(run)
    folder = out or folder_of(run, chosen)
    problems, scores = label_run(context, chosen, folder)
    if context.is_main:
        names = context.dataset.classes.names
        figures = pipeline.Figures(names, None, None if scores is None else scores.as_json(names), tuple(problems))
        if json is not None:
            write_json(json, figures.as_json())
        terminal.say(f"label maps of {len(context.dataset.items)} photos by {model}: {folder}")
        terminal.print_scores(figures)
        terminal.print_set_aside(problems)
    if context.processes > 1:
        context.engine.stop()
    if problems:
        raise Incomplete.of(problems, done="the other photos have label maps")
