"""The command line: parse, call, print. A user error is one line and exit status 2, never a traceback."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from cyclopts import App, CycloptsError

from semples import __version__
from semples.commands import app as page
from semples.commands import predict, results, runs, settings
from semples.commands.baseline import baseline
from semples.commands.combine import combine
from semples.commands.compare import compare
from semples.commands.correct import correct
from semples.commands.data import data_app
from semples.commands.methods import methods
from semples.commands.plan import plan
from semples.commands.relabel import relabel
from semples.commands.segment import segment_app
from semples.commands.words import words
from semples.core.disk import trouble
from semples.core.errors import Note, UserError
from semples.core.plain import plain
from semples.core.signals import Ended, ending_signals

app = App(
    name="semples",
    help="Photos that only carry tags in; segmentation masks, and a network that segments new photos, out.",
    version=__version__,
)
EXPORT = "Write label maps (or CAMs) as other programs read them: those of a run, or those of predicted photos."
for command in (runs.run, runs.demo, runs.train, runs.cams, runs.regions, runs.label, runs.score, results.prompts):
    app.command(command)
app.command(plan)
app.command(results.status)
app.command(correct)
app.command(baseline)
app.command(combine)
app.command(relabel)
app.command(compare)
app.command(predict.predict)
app.command(page.app)
app.command("semples.commands.export:export", name="export", help=EXPORT)
app.command(results.report)
app.command(methods)
app.command(settings.doctor)
app.command(settings.recipes_app)
data_app.command(words)
app.command(data_app)
app.command(segment_app)


def _one_line(show: Callable[..., Any]) -> Callable[..., None]:
    """`show` (of warnings), but notes of this package as one line without file and line number."""

    def shown(message: Any, category: Any, *place: Any, **more: Any) -> None:
        if issubclass(category, Note):
            _say(f"note: {message}")
        else:
            show(message, category, *place, **more)

    return shown


def main() -> None:
    """Entry point of the `semples` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a sign that the terminal's encoding lacks is written out
            stream.reconfigure(errors="backslashreplace")
    try:
        with ending_signals():
            _run()
    except Ended as end:
        _say(f"ended by {end.name}; run the same command to go on (what was finished is kept)")
        sys.exit(end.status)


def _run() -> None:
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", Note)
                warnings.showwarning = _one_line(warnings.showwarning)
                app(exit_on_error=False, print_error=False)
        finally:
            sys.stdout.flush()
    except UserError as error:
        _end(str(error), error.status)
    except CycloptsError as error:
        name = " ".join(["semples", *(error.command_chain or ())])
        _end(f"{' '.join(str(error).split())} Help: {name} --help", UserError.status)
    except KeyboardInterrupt:
        _end("interrupted; run the same command to go on", 130)
    except BrokenPipeError:
        _close_stdout()
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _end(str(trouble(error, _stdout_fails() if error.filename is None else None)), UserError.status)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        _end(
            "not enough memory; use a smaller batch, image_size or max_side (`--set`, see `semples recipes "
            "show folder`), then run the same command to go on",
            UserError.status,
        )


def _end(line: str, status: int) -> None:
    _say(line)
    sys.exit(status)


def _say(line: str) -> None:
    print(f"semples: {plain(line)}", file=sys.stderr, flush=True)


def _stdout_fails() -> str | None:
    """What to call standard output where it is that which cannot be written to; it is closed then."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        _close_stdout()
        return "standard output"
    return None


def _close_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether memory is what is missing; torch says so in a RuntimeError."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)
