"""The command line: parse, call, print. A user error is one line and exit status 2, never a traceback."""

from __future__ import annotations

import os
import sys

from cyclopts import App

from semples import __version__
from semples.commands import app as page
from semples.commands import predict, results, runs, settings
from semples.commands.data import data_app
from semples.commands.segment import segment_app
from semples.core.errors import UserError

app = App(
    name="semples",
    help="Photos that only carry tags in; segmentation masks, and a network that segments new photos, out.",
    version=__version__,
)
EXPORT = "Write label maps (or CAMs) as other programs read them: those of a run, or those of predicted photos."
for command in (runs.run, runs.demo, runs.train, runs.cams, runs.regions, runs.label, runs.score, runs.prompts):
    app.command(command)
app.command(runs.status)
app.command(predict.predict)
app.command(page.app)
app.command("semples.commands.export:export", name="export", help=EXPORT)
app.command(results.report)
app.command(settings.doctor)
app.command(settings.recipes_app)
app.command(data_app)
app.command(segment_app)


def main() -> None:
    """Entry point of the `semples` command."""
    try:
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
