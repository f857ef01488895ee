"""The command line: parse, call, print. A user error is one line and exit status 2, never a traceback."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from cyclopts import App

from semples import __version__
from semples.commands import app as page
from semples.commands import predict, results, runs, settings
from semples.commands.baseline import baseline
from semples.commands.data import data_app
from semples.commands.methods import methods
from semples.commands.segment import segment_app
from semples.core.errors import Note, UserError

app = App(
    name="semples",
    help="Photos that only carry tags in; segmentation masks, and a network that segments new photos, out.",
    version=__version__,
)
EXPORT = "Write label maps (or CAMs) as other programs read them: those of a run, or those of predicted photos."
for command in (runs.run, runs.demo, runs.train, runs.cams, runs.regions, runs.label, runs.score, runs.prompts):
    app.command(command)
app.command(runs.status)
app.command(baseline)
app.command(predict.predict)
app.command(page.app)
app.command("semples.commands.export:export", name="export", help=EXPORT)
app.command(results.report)
app.command(methods)
app.command(settings.doctor)
app.command(settings.recipes_app)
app.command(data_app)
app.command(segment_app)


def _one_line(show: Callable[..., Any]) -> Callable[..., None]:
    """`show` (of warnings), but notes of this package as one line without file and line number."""

    def shown(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if issubclass(category, Note):
            print(f"semples: note: {message}", file=sys.stderr)
        else:
            show(message, category, *place, **more)

    return shown


def main() -> None:
    """Entry point of the `semples` command."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", Note)
            warnings.showwarning = _one_line(warnings.showwarning)
            app()
    except UserError as error:
        print(f"semples: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("semples: interrupted; run the same command to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
