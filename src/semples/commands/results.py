"""Commands that take a run's results to people and to other programs."""

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
