"""The commands of `semples data`: look at photos and tags, fetch the field's datasets, take in annotations."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

data_app = App(name="data", help="Photos and tags: check them, fetch VOC and COCO, import annotations.")

From = Annotated[Path | None, Parameter(name="--from")]
Mirrors = Annotated[list[str], Parameter(name="--mirror", negative=(), consume_multiple=False)]


@data_app.command
def check(
    folder: Path,
    *,
    split: str | None = None,
    tags: Path | None = None,
    classes: Path | None = None,
    column: str = "",
    min_side: int = 64,
    min_photos: int = 20,
    max_megapixels: float = 100.0,
    bits: int = 0,
    count: int = 20,
    json: Path | None = None,
    propose: Path | None = None,
) -> None:
    """Count photos and classes, show which occur together, and name problems: unreadable photos, leaks, typos, rarity.

    Of a run: list the tags most worth a look, which the other photos' tags contradict.

    Parameters
    ----------
    folder
        folder with the photos, or of a run; a Parquet file, or a dataset of the hub (hf://owner/name).
    split
        list of photos, for the VOC layout; split of Parquet files.
    tags
        tags file in place of the one in the folder.
    classes
        class list, `name` or `name,prompt word` a line.
    column
        column of Parquet files that holds the tags; default: found by its feature or name.
    min_side
        photos with a shorter side, in pixels, are named as small.
    min_photos
        classes with fewer photos are named as rare.
    max_megapixels
        larger photos count as unreadable.
    bits
        of the greatest value in photos of 16 bits, for example 12; default: as each file says.
    count
        for the folder of a run: so many tags most worth a look are listed, those that the other photos speak against.
    json
        file that gets the figures too.
    propose
        for the folder of a run: table that gets proposed tags for the photos that have none, doubtful ones as `dog?`.
    """
    from semples.run.folder import is_run

    if is_run(folder):
        _check_tags(folder, count=count, json=json, propose=propose)
        return
    if propose is not None:
        from semples.core.errors import UserError

        raise UserError(f"--propose: is for the folder of a run, whose judge looks at the photos; {folder} is none")
    from rich.console import Console

    from semples import terminal
    from semples.core.files import write_json
    from semples.data.check import check as check_dataset
    from semples.data.check import render
    from semples.data.dataset import open_dataset
    from semples.data.hints import open_lists

    dataset = open_dataset(
        folder, split=split, tags=tags, classes=classes, max_megapixels=max_megapixels, bits=bits, column=column
    )
    report = check_dataset(
        dataset,
        workers=os.cpu_count() or 1,
        lists=open_lists(dataset, tags=tags),
        min_side=min_side,
        min_photos=min_photos,
    )
    if json is not None:
        write_json(json, report.to_json())
    render(report, Console())
    terminal.print_checked(folder, report)


def _check_tags(folder: Path, *, count: int, json: Path | None, propose: Path | None) -> None:
    """List the tags of a run that are most worth a look, and propose tags for photos without any."""
    from semples import terminal
    from semples.commands import shown
    from semples.core.errors import UserError
    from semples.core.files import write_json
    from semples.inspect.tag_check import TagCheck, write_proposals
    from semples.run.folder import open_run

    if count < 1:
        raise UserError(f"--count {count}: list at least one tag")
    check = TagCheck(open_run(folder))
    suspects = check.suspects(count=count)
    if json is not None:
        write_json(json, [one.as_json() for one in suspects])
    shown.print_suspects(suspects)
    if propose is not None:
        proposals = check.proposals()
        write_proposals(propose, proposals)
        terminal.say(f"proposed tags of {len(proposals)} photos without any: {propose} (look at them first)")


@data_app.command
def voc(folder: Path, *, source: From = None, mirrors: Mirrors = []) -> None:  # noqa: B006 (cyclopts shows the default)
    """Download PASCAL VOC 2012 and SBD and lay them out, with train_aug (10,582 photos) and its masks.

    About 3.5 GB are downloaded. A second call goes on where the first was cut off.

    Parameters
    ----------
    folder
        folder that gets VOCdevkit/VOC2012.
    source
        folder with the files already there (archives or unpacked); nothing is downloaded.
    mirrors
        address of a folder with the archives, asked first; may be repeated.
    """
    from semples import terminal
    from semples.data.fetch import get_voc

    made = get_voc(folder, source=source, mirrors=mirrors, workers=os.cpu_count() or 1)
    terminal.say(f"{made.root}: train {made.train}, val {made.val}, train_aug {made.train_aug} photos")
    if made.removable:
        terminal.say("may be removed: " + ", ".join(map(str, made.removable)))
    terminal.say(f"next: semples data check {shlex.quote(str(folder))}")


@data_app.command
def coco(
    folder: Path,
    *,
    ids: Literal["contiguous", "published"] = "contiguous",
    source: From = None,
    mirrors: Mirrors = [],  # noqa: B006 (cyclopts shows the default)
) -> None:
    """Download MS COCO 2014 and lay it out with tags and masks by category.

    About 20 GB are downloaded and as much again unpacked. A second call goes on where the first was cut off.

    Parameters
    ----------
    folder
        folder that gets the photos, tags and masks.
    ids
        labels in masks: 80 contiguous, or the published 1..90 with gaps, which published checkpoints need.
    source
        folder with the files already there (zips or unpacked); nothing is downloaded.
    mirrors
        address of a folder with the zips, asked first; may be repeated.
    """
    from semples import terminal
    from semples.data.fetch import get_coco

    made = get_coco(folder, source=source, mirrors=mirrors, ids=ids, workers=os.cpu_count() or 1)
    for split, photos in made.photos.items():
        terminal.say(f"{made.root}: {split} {made.tagged[split]} photos with a tag, of {photos}")
    if made.removable:
        terminal.say("may be removed: " + ", ".join(map(str, made.removable)))
    terminal.say_next_run(f"coco --data {shlex.quote(str(folder))} --out runs/coco --set data.split=train")


@data_app.command(name="import")
def import_(
    annotations: Path,
    *,
    out: Annotated[Path, Parameter(name="--out")],
    photos: Path | None = None,
    format_: Annotated[str | None, Parameter(name="--format")] = None,
    masks: bool = True,
    overwrite: bool = False,
    unlabelled: Literal["set-aside", "background"] = "set-aside",
    predictions: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Turn annotations of other programs into tags, classes and, where things are outlined, masks.

    Photos without an annotation are set aside and named. docs/files.md shows every format with an example.

    Parameters
    ----------
    annotations
        file, folder or archive (zip, tar) of annotations, or photos in folders named by class.
    out
        folder that gets tags.csv, classes.txt, masks/ and the photos (linked where the disk allows it).
    photos
        folder with the photos; default: where the annotations are.
    format_
        coco, panoptic, yolo, voc, label-studio, labelme, cvat, via, supervisely, darwin, createml, automl,
        huggingface, csv, masks, folders, or one of another package; default: recognised.
    masks
        draw masks from polygons and run-length codes.
    overwrite
        replace the tags file in the output folder.
    unlabelled
        photos without an annotation are set aside, or taken for background only (YOLO's habit).
    predictions
        take a model's predictions (Label Studio) where nobody has annotated.
    """
    from semples import terminal
    from semples.data.importers import import_annotations

    made = import_annotations(
        annotations,
        out,
        photos=photos,
        format=format_,
        masks=masks,
        overwrite=overwrite,
        unlabelled=unlabelled,
        predictions=predictions,
    )
    terminal.say(
        f"{made.root}: {made.photos} photos, {len(made.classes)} classes, {made.masks} masks (read as {made.format})"
    )
    for note in made.notes:
        terminal.say(f"  {note}")
    problems = [f"{problem.where}: {problem.what}" for problem in made.problems]
    for problem in problems[:20]:
        terminal.tell(f"  {problem}")
    if len(problems) > 20:
        terminal.tell(f"  ... and {len(problems) - 20} more")
    if made.unlabelled:
        count, shown = len(made.unlabelled), ", ".join(made.unlabelled[:20])
        names = shown + (f" and {count - 20} more" if count > 20 else "")
        terminal.tell(f"  {count} photos without an annotation are set aside: {names}")
    if made.set_aside or made.unlabelled:
        terminal.say(f"of {made.seen} photos {made.photos} are used; the others: {made.root / 'set_aside.csv'}")
    terminal.say(f"next: semples data check {shlex.quote(str(made.root))}")
