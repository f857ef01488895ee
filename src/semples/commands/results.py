"""Commands that show what a run holds: words, status, the page of its results."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from semples.core.errors import UserError


def report(run: Path, *, out: Annotated[Path | None, Parameter(name="--out")] = None, photos: int = 200) -> None:
    """Write one offline HTML page about a run: pictures of every stage, a live threshold, curves, tables.

    Parameters
    ----------
    run
        folder of the run.
    out
        the page; default: report.html in the run's folder.
    photos
        most photos that are shown.
    """
    from semples import terminal
    from semples.inspect.report.build import build_report
    from semples.run import pipeline
    from semples.run.summary import write_summary

    context = pipeline.open_run(run)
    page = build_report(context, run / "report.html" if out is None else out, limit=photos)
    with suppress(UserError):  # a run that can only be read has the summary that it has
        write_summary(context, pipeline.status(context))
    terminal.say(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB); open it in a browser, no network needed")


def prompts(out: Path, *, words: Path | None = None, count: int = 5, json: Path | None = None) -> None:
    """Show, for each class, the words nearest to its learned background prompt.

    Parameters
    ----------
    out
        folder of the run.
    words
        text file with one word or phrase a line; default: a shipped list of things and scenes.
    count
        words per class.
    json
        file that gets them too.
    """
    from semples import Run, terminal
    from semples.core.files import write_json
    from semples.evaluation.verdicts import photos_to_add
    from semples.run.health import looked_at

    work = Run(out)
    nearest = work.words(words=words, count=count)
    if json is not None:
        write_json(json, nearest)
    terminal.print_words(nearest)
    if asked := photos_to_add(looked_at(work.context, "prompting")):
        terminal.say(asked)


def status(out: Path, *, json: Path | None = None) -> None:
    """Show which steps of a run are done, interrupted, outdated or still to come, and how healthy each stage is.

    Parameters
    ----------
    out
        folder of the run.
    json
        file that gets the same, with the figures that verdicts rest on.
    """
    from dataclasses import asdict

    from semples import Run, terminal
    from semples.core.files import write_json
    from semples.run.health import is_look, verdicts

    work = Run(out)
    statuses = work.status()
    if json is not None:
        steps = [asdict(entry) for entry in statuses if not is_look(entry.step)]
        write_json(json, {"steps": steps, "health": verdicts(statuses)})
    terminal.print_status(work.context, statuses)
