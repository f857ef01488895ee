"""Commands that take a run's results to people and to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


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

    page = build_report(pipeline.open_run(run), run / "report.html" if out is None else out, limit=photos)
    terminal.say(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB); open it in a browser, no network needed")
