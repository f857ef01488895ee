"""What a dataset holds and what is wrong with it, before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from semples.core.plain import plain
from semples.core.progress import track
from semples.data import hints
from semples.data.dataset import IGNORE, FileDataset, Item, PhotoError, Problem, TaggedDataset
from semples.data.masks import way_of
from semples.data.photos import probe_turn
from semples.data.slips import slips
from semples.data.verify import verify_photos

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
SHOWN_PROBLEMS = 30
SHOWN_HINTS = 10
SHOWN_PAIRS = 20


@dataclass(frozen=True)
class CheckReport:
    """Figures of a dataset; `to_json` gives plain data.

    `photos` counts usable photos, `unreadable` lists those that do not decode, `problems` what reading set aside.
    `class_photos[k]` counts photos that carry class k, `together[j][k]` those that carry both (the diagonal repeats
    `class_photos`). `width` and `height` are (smallest, median, largest) in pixels. `masks` counts readable masks;
    `mask_problems` lists unreadable ones and those whose classes differ from the tags. The rest are hints (`hints`):
    photos in lists for training and for scoring, classes that may be two spellings of one, small photos, classes hard
    to learn, classes that come together; `slips`: what is likely not meant.
    """

    name: str
    root: str
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    photos: int
    untagged: int
    class_photos: tuple[int, ...]
    together: tuple[tuple[int, ...], ...]
    empty_classes: tuple[str, ...]
    width: tuple[float, float, float] | None
    height: tuple[float, float, float] | None
    masks: int
    unreadable: tuple[Problem, ...] = field(default=())
    problems: tuple[Problem, ...] = field(default=())
    mask_problems: tuple[Problem, ...] = field(default=())
    leaks: tuple[Problem, ...] = field(default=())
    near_names: tuple[Problem, ...] = field(default=())
    small_photos: tuple[Problem, ...] = field(default=())
    hard_classes: tuple[Problem, ...] = field(default=())
    confusions: tuple[Problem, ...] = field(default=())
    slips: tuple[Problem, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Dictionaries, lists, text and numbers only."""
        return asdict(self)


def check(
    dataset: TaggedDataset,
    *,
    workers: int = 1,
    lists: Mapping[str, TaggedDataset] | None = None,
    min_side: int = hints.MIN_SIDE,
    min_photos: int = hints.MIN_PHOTOS,
) -> CheckReport:
    """Decode every photo and mask once and count. Raises nothing for a bad photo or mask: they are listed.

    `lists` (see `hints.open_lists`) are compared for photos that are in one for training and one for scoring.
    `min_side` (pixels) and `min_photos` (of a class) are the least without a hint.
    """
    verified = verify_photos(dataset, workers=workers)
    count = len(dataset.classes)
    hot = np.zeros((len(verified.kept), count), np.int64)
    for row, item in enumerate(verified.kept):
        hot[row, list(item.tags)] = 1
    together = hot.T @ hot
    values, mask_problems = _check_masks(dataset, verified.kept)
    sizes = list(verified.sizes.values())
    names = dataset.classes.names
    counts = [int(number) for number in np.diag(together)]
    return CheckReport(
        name=dataset.name,
        root=plain(str(dataset.root)),
        classes=names,
        prompts=dataset.classes.prompts,
        photos=len(verified.kept),
        untagged=int((hot.sum(axis=1) == 0).sum()),
        class_photos=tuple(counts),
        together=tuple(tuple(int(number) for number in row) for row in together),
        empty_classes=tuple(name for name, number in zip(names, counts, strict=True) if number == 0),
        width=_spread([width for width, _ in sizes]),
        height=_spread([height for _, height in sizes]),
        masks=len(values),
        unreadable=verified.problems,
        problems=dataset.problems,
        mask_problems=tuple(mask_problems),
        leaks=hints.leaks(lists or {}),
        near_names=hints.near_names(names, counts),
        small_photos=hints.small_photos(verified.sizes, min_side=min_side),
        hard_classes=hints.hard_classes(names, counts, len(verified.kept), min_photos=min_photos),
        confusions=hints.confusions(names, together.tolist(), len(verified.kept)),
        slips=slips(dataset, values),
    )


def _spread(values: list[int]) -> tuple[float, float, float] | None:
    return (min(values), median(values), max(values)) if values else None


def _check_masks(dataset: TaggedDataset, items: tuple[Item, ...]) -> tuple[list[frozenset[int]], list[Problem]]:
    """The values of every readable mask, and the problems."""
    masks: list[frozenset[int]] = []
    problems: list[Problem] = []
    names = dataset.classes.names
    masked = [item for item in items if item.mask is not None]
    for item in track(masked, label="checking masks"):
        try:
            mask = dataset.mask(item)
        except PhotoError as error:
            problems.append(Problem(item.id, str(error)))
            continue
        if mask is None:
            continue
        masks.append(frozenset(map(int, np.unique(mask))))
        if _may_lie_otherwise(dataset, item):
            problems.append(
                Problem(item.id, "its EXIF data turn it, and no size tells whether its mask is upright too")
            )
        drawn = {value - 1 for value in masks[-1] if 0 < value < IGNORE}
        untagged, undrawn = sorted(drawn - set(item.tags)), sorted(set(item.tags) - drawn)
        if untagged:
            problems.append(Problem(item.id, f"its mask shows {_join(names, untagged)}, its tags do not"))
        if undrawn:
            problems.append(Problem(item.id, f"tagged {_join(names, undrawn)}, but its mask shows none"))
    return masks, problems


def _may_lie_otherwise(dataset: TaggedDataset, item: Item) -> bool:
    """Whether a photo is turned, and neither its mask's size nor other masks tell which way up the mask is."""
    whole = getattr(dataset, "whole", dataset)
    if item.mask is None or not isinstance(whole, FileDataset) or whole.mask_way != "unknown":
        return False
    size, orientation = probe_turn(item.photo, max_megapixels=whole.max_megapixels)
    return way_of(size, size, orientation) == "unknown"


def _join(names: tuple[str, ...], indices: list[int]) -> str:
    return ", ".join(names[index] for index in indices)


# ---------------------------------------------------------------------------------------------------- terminal


def render(report: CheckReport, console: Console) -> None:
    """Show a report: figures, class balance, co-occurrence (a table, or the commonest pairs), problems."""

    console.print(f"[bold]{_shown(report.name)}[/bold]  {_shown(report.root)}", highlight=False)
    set_aside = len(report.unreadable) + len(report.problems)
    console.print(
        f"{report.photos} photos, {report.untagged} of them without a tag (background only); "
        f"{report.masks} masks; {set_aside} problems",
        highlight=False,
    )
    for label, spread in (("width", report.width), ("height", report.height)):
        if spread is not None:
            console.print(f"{label}: {spread[0]:g} to {spread[2]:g} pixels, median {spread[1]:g}", highlight=False)
    _render_classes(report, console)
    _render_together(report, console)
    if report.empty_classes:
        console.print(f"[yellow]Classes without a photo:[/yellow] {_shown(', '.join(report.empty_classes))}")
    for title, problems in (
        ("Photos that cannot be read", report.unreadable),
        ("Problems", report.problems),
        ("Masks", report.mask_problems),
        ("Photos both learned from and scored on", report.leaks),
    ):
        _render_list(f"[red]{title}[/red]", problems, SHOWN_PROBLEMS, console)
    for title, problems in (
        ("Likely slips", report.slips),
        ("Classes that may be one", report.near_names),
        ("Classes hard to learn", report.hard_classes),
        ("Small photos", report.small_photos),
    ):
        _render_list(f"[yellow]{title}[/yellow]", problems, SHOWN_HINTS, console)
    sentences = tuple(Problem("", problem.what) for problem in report.confusions)
    _render_list("[yellow]Classes that come together[/yellow]", sentences, SHOWN_HINTS, console)


def _shown(text: str) -> str:
    """Text of other people without signs that act on a terminal, and without markup."""
    from rich.markup import escape

    return escape(plain(text))


def _render_list(title: str, problems: tuple[Problem, ...], shown: int, console: Console) -> None:

    if not problems:
        return
    console.print(f"{title}: {len(problems)}", highlight=False)
    for problem in problems[:shown]:
        text = f"{problem.where}: {problem.what}" if problem.where else problem.what
        console.print(f"  {_shown(text)}", highlight=False, soft_wrap=True)
    if len(problems) > shown:
        console.print(f"  ... and {len(problems) - shown} more", highlight=False)


def _render_classes(report: CheckReport, console: Console) -> None:
    from rich.table import Table

    table = Table("#", "class", "prompt word", "photos", "share", box=None)
    for index, (name, prompt, count) in enumerate(
        zip(report.classes, report.prompts, report.class_photos, strict=True), start=1
    ):
        share = f"{100 * count / report.photos:.1f} %" if report.photos else "-"
        table.add_row(str(index), _shown(name), _shown(prompt), str(count), share)
    console.print(table, "")


def _render_together(report: CheckReport, console: Console) -> None:
    from rich.table import Table

    present = [index for index, count in enumerate(report.class_photos) if count]
    if len(present) < 2:
        return
    digits = 2 + len(str(max(report.class_photos)))
    names = 6 + max(len(report.classes[index]) for index in present)
    if names + max(digits, 4) * len(present) <= console.width:
        console.print("Photos with both tags:")
        table = Table("", *(str(index + 1) for index in present), box=None)
        for row in present:
            cells = (str(report.together[row][column] or "·") for column in present)
            table.add_row(f"{row + 1} {_shown(report.classes[row])}", *cells)
    else:
        console.print("Commonest pairs of tags:")
        table = Table("class", "with", "photos", box=None)
        pairs = [(j, k) for j in present for k in present if j < k and report.together[j][k]]
        for j, k in sorted(pairs, key=lambda pair: -report.together[pair[0]][pair[1]])[:SHOWN_PAIRS]:
            table.add_row(_shown(report.classes[j]), _shown(report.classes[k]), str(report.together[j][k]))
    console.print(table, "")
