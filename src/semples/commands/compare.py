"""The command that sets runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from semples.inspect.comparison import Comparison, Interval


def compare(
    *runs: Path,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    photos: int = 12,
    json: Path | None = None,
) -> None:
    """Set runs side by side: what differs in recipe and photos, their figures, the photos labelled most unlike.

    Runs that differ in their seed alone are taken together, with 95 % intervals.

    Parameters
    ----------
    runs
        folders of two runs or more; the first is what the others are compared with.
    out
        file that gets the comparison as one offline page, pictures included.
    photos
        how many of the photos that are labelled most unlike are shown.
    json
        file that gets all of it as plain data.
    """
    from semples import terminal
    from semples.core.errors import UserError
    from semples.core.files import write_json
    from semples.inspect.comparison import compare as compared
    from semples.inspect.comparison_page import write_page

    if photos < 1:
        raise UserError(f"--photos {photos}: show at least one photo")
    comparison = compared(runs, photos=photos)
    print_comparison(comparison)
    if json is not None:
        write_json(json, comparison.as_json())
    if out is not None:
        terminal.say(f"page: {write_page(comparison, out)}; open it in a browser, no network needed")


def print_comparison(comparison: Comparison) -> None:
    """What differs between runs, their figures, intervals over seeds, and the photos labelled most unlike."""
    from rich.markup import escape
    from rich.table import Table

    from semples import terminal
    from semples.core.plain import plain

    names = [escape(plain(name)) for name in comparison.names]
    if comparison.settings:
        table = Table("setting", *names, title="what differs in the recipes")
        for key, values in comparison.settings:
            table.add_row(terminal.cell(key), *(terminal.cell(str(value)) for value in values))
        terminal.console.print(table)
    else:
        terminal.say("the recipes are the same in all that changes results")
    for line in comparison.photos:
        terminal.say(line)
    table = Table("figure", *names, title="figures")
    for name, numbers in comparison.figures.items():
        table.add_row(terminal.cell(name), *map(terminal.figure, numbers))
    terminal.console.print(table)
    if comparison.groups:
        _print_groups(comparison)
    if comparison.note:
        terminal.say(f"photos: {comparison.note}")
        return
    table = Table("photo", "pixels labelled otherwise", *names, title="photos labelled most unlike, with their IoU")
    for one in comparison.unlike:
        ious = ["-"] * len(names) if one.iou is None else [f"{value:.2f}" for value in one.iou]
        table.add_row(terminal.cell(one.item.id), f"{one.share:.1%}", *ious)
    terminal.console.print(table)


def _print_groups(comparison: Comparison) -> None:
    """Mean ± half the 95 % interval of runs that differ in their seed alone, and differences to the first of these."""
    from rich.table import Table

    from semples import terminal

    letters = [chr(ord("a") + place) for place in range(len(comparison.groups))]
    for letter, group in zip(letters, comparison.groups, strict=True):
        terminal.say(f"{letter}: {', '.join(comparison.names[place] for place in group.runs)}")
    columns = [letters[0], *(name for letter in letters[1:] for name in (letter, f"{letter} - {letters[0]}"))]
    table = Table("figure", *columns, title="over seeds, mean ± half the 95 % interval")
    for name in comparison.figures:
        first, *rest = comparison.groups
        spans = [first.figures.get(name), *(one for g in rest for one in (g.figures.get(name), g.against.get(name)))]
        table.add_row(terminal.cell(name), *(_span(one) for one in spans))
    terminal.console.print(table)


def _span(one: Interval | None) -> str:
    if one is None:
        return "-"
    return f"{one.mean:.2f}" if one.half is None else f"{one.mean:.2f} ± {one.half:.2f}"
