"""What the commands print of corrections and of what is worth a look."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from semples.run.context import Context
from semples.terminal import SHOWN_PROBLEMS, cell, console, print_set_aside, say

if TYPE_CHECKING:
    from semples.inspect.tag_check import Suspect
    from semples.run.correcting import Taken


def print_corrected(context: Context, taken: Taken) -> None:
    """What was taken in, what not, and what to do next."""
    say(f"{len(taken.corrected)} photos corrected" + (f": {_some(taken.corrected)}" if taken.corrected else ""))
    if taken.unchanged:
        say(
            f"{len(taken.unchanged)} masks are as the label maps are, and not taken for corrections "
            "(--unchanged takes them: somebody has looked at them)"
        )
    for line in taken.untagged[:SHOWN_PROBLEMS]:
        say(f"  shows a class that the photo's tags lack; correct the tags too: {line}")
    print_set_aside(taken.problems)
    if taken.corrected or taken.refreshed:
        print_after_corrections(context, fresh=taken.refreshed)


def print_after_corrections(context: Context, *, fresh: bool) -> None:
    """What is up to date with the corrections, and what to do next."""
    out = shlex.quote(str(context.out))
    if not fresh:
        say(f"next: semples label {out} (label maps with the corrections in them)")
        return
    say(f"label maps with the corrections in them: {context.folder('labels')}")
    say(f"next: semples segment train {out} (corrections teach it with full weight)")


def _some(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def print_suspects(suspects: Sequence[Suspect]) -> None:
    """The tags most worth a look, the most doubtful first."""
    table = Table("photo", "class", "tagged", "the other photos say")
    for one in suspects:
        table.add_row(cell(one.photo), cell(one.name), "yes" if one.tagged else "no", f"{one.probability:.0%}")
    console.print(table)
    say("correct what is wrong in the tags file; what nobody knows is left open as NAME?")


def print_review(context: Context, entries: Sequence[dict[str, Any]], sure: dict[str, Any]) -> None:
    """The photos most worth a look, the least certain first; and how wrong the surest are."""
    table = Table("photo", "certainty", "tags without a pixel")
    for entry in entries:
        table.add_row(cell(entry["photo"]), f"{entry['certainty']:.2f}", cell(", ".join(entry["missing"])))
    console.print(table)
    if sure["rows"]:
        told = ", ".join(f"{row['coverage']:.0%} {row['wrong']:.1%}" for row in sure["rows"])
        say(f"wrong pixels of the surest photos: {told} ({sure['about']})")
    elif sure["photos"]:
        say(f"wrong pixels of the surest photos: {sure['about']}")
    say(f"label maps: {context.folder('labels')}; how sure each pixel is (white: sure): confidence/ in it")
    out = shlex.quote(str(context.out))
    say(f"next: semples app {out} --review (mend them in the browser), or semples export labelstudio {out} --out DIR; "
        f"what was mended elsewhere comes back with semples correct {out} FILES")  # fmt: skip
