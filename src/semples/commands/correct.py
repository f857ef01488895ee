"""The command that takes in what people have mended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Remove = Annotated[list[str], Parameter(name="--remove", negative=(), consume_multiple=False)]


def correct(
    run: Path,
    *files: Path,
    format_: Annotated[str | None, Parameter(name="--format")] = None,
    unchanged: bool = False,
    remove: Remove = [],  # noqa: B006 (cyclopts shows the default)
) -> None:
    """Take in label maps that people have mended elsewhere; they stay, whatever else is made anew.

    Reads what Label Studio, CVAT, labelme and other programs export (COCO, VOC, YOLO too), archives of it, and masks as
    pictures (class values, or the colours of the label maps), by the photos' paths or names. A corrected map takes the
    place of the one that is made, and teaches the segmenter with full weight. Ends with status 1 where some masks
    cannot be used; the others are taken.

    Parameters
    ----------
    run
        folder of the run.
    files
        annotations, archives, masks, or folders of them.
    format_
        format of annotations where several fit (`semples methods` lists them).
    unchanged
        take masks that are as the label maps are too: somebody has looked at all of them.
    remove
        take the correction of this photo back; may be repeated.
    """
    from semples import terminal
    from semples.commands import shown
    from semples.core.errors import Incomplete, UserError
    from semples.run.correcting import correct as take_in
    from semples.run.correcting import take_back
    from semples.run.folder import open_run

    if not files and not remove:
        raise UserError("name the mended files, for example `semples correct RUN export.json`")
    context = open_run(run)
    if remove:
        fresh = take_back(context, remove, tell=terminal.tell)
        terminal.say(f"{len(remove)} corrections taken back")
        if not files:
            shown.print_after_corrections(context, fresh=fresh)
    if files:
        taken = take_in(context, files, format=format_, unchanged=unchanged, tell=terminal.tell)
        shown.print_corrected(context, taken)
        if taken.problems:
            raise Incomplete.of(taken.problems, done="the others are taken in")
