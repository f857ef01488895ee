"""The command that labels a run's photos by its own segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from semples.core.errors import Incomplete


def relabel(
    run: Path,
    *,
    model: Path | None = None,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    json: Path | None = None,
) -> None:
    """Label a run's photos by its own segmenter, held to their tags, and score the result (self-training).

    The next segmenter learns from them: `semples segment train --photos DIR --labels RUN/relabelled --out DIR`. Ends
    with status 1 where a photo could not be used.

    Parameters
    ----------
    run
        folder of a run with a segmenter.
    model
        another segmenter, of the same classes.
    out
        folder for the label maps; default: relabelled in the run's folder.
    json
        file that gets the scores too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.prediction.relabel import DEFAULT, relabel_run
    from semples.run import pipeline

    context = pipeline.open_run(run)
    folder = out or context.out / DEFAULT
    problems, scores = relabel_run(context, folder, model=model, workers=0)
    names = context.dataset.classes.names
    figures = pipeline.Figures(names, None, None if scores is None else scores.as_json(names), tuple(problems))
    if json is not None:
        write_json(json, figures.as_json())
    terminal.say(f"label maps of {len(context.dataset.items)} photos by the segmenter: {folder}")
    terminal.print_scores(figures)
    terminal.print_set_aside(problems)
    if problems:
        raise Incomplete.of(problems, done="the other photos have label maps")
