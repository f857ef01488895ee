"""Make the plan of a run: what is still to do, measured on this machine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from semples.core.errors import UserError
from semples.core.systems import load_average
from semples.data.hints import MIN_PHOTOS
from semples.networks.hub import bytes_on_hub
from semples.run.context import Context
from semples.run.names import HEALTH, JUDGE, SEGMENTER, SELECTION, TRAINED
from semples.run.planning.kept import Sizes, kept_photos, sizes_of
from semples.run.planning.models import Need, Opened, check_at_hand, needs_of, trouble_later
from semples.run.planning.plan import Download, KeptPhotos, Plan, StepPlan, amount
from semples.run.planning.preflight import is_done, preflight
from semples.run.records import result_of
from semples.settings.judges import NO_JUDGE
from semples.settings.kinds import STAGES

if TYPE_CHECKING:
    from semples.run.planning.measure import Sample
    from semples.training.timing import Cost

LITTLE = 3000  # photos through a network in all training steps: as soon done as timed
ASKED = 100  # photos that the judge's words are tried on
JUDGE_FIRST = "the judge learns from the tags first; what the stages after it take is not known before"
PHOTO_BYTES = 400  # of what is written down of a photo beside maps


def downloads_of(needs: Sequence[Need]) -> tuple[Download, ...]:
    """What is still to be downloaded, with sizes where the hub says them. Raises UserError without network."""
    return tuple(
        Download(need.source, need.group, need.steps, bytes_on_hub(need.repo) if need.repo else None)
        for need in check_at_hand(needs)
    )


def make_plan(
    context: Context,
    steps: Sequence[str],
    *,
    forced: Sequence[str] = (),
    always: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Plan:
    """The plan of these steps; what their models lack is downloaded.

    always: time even what is so little that timing it takes as long. tell: gets a line for each download, before it
    begins. Raises UserError as `preflight`.
    """
    todo = [step for step in steps if step in forced or not is_done(context, step)]
    downloads = downloads_of(needs_of(context.recipe, todo))
    for download in downloads:
        tell(download.line())
    opened = preflight(context, steps, forced=forced)
    recipe, dataset = context.recipe, context.listing
    counts = {step: training_steps(context, step, opened) for step in todo if step in TRAINED}
    views = sum(count * min(getattr(recipe, step).batch, len(dataset.items)) for step, count in counts.items())
    later_known = recipe.judge.kind != NO_JUDGE and type(recipe.judge).LEARNS and JUDGE in todo
    soon_done = not always and views < LITTLE
    little = later_known or soon_done
    sizes = {} if soon_done else sizes_of(dataset, max_megapixels=recipe.data.max_megapixels)
    kept = kept_photos(dataset, sizes, recipe, folder=_disk(context.out)) if sizes and counts else None
    later: StepPlan | None = None
    afterwards = trouble_later(recipe) if "labels" in todo else None
    if little:
        rows = _unmeasured(context, todo, counts)
    else:
        follows = "labels" in todo and afterwards is None
        rows, later = _measured(context, todo, counts, opened, sizes, with_segmenter=follows)
        rows, later = [_with_kept(row, kept, context) for row in rows], later and _with_kept(later, kept, context)
    notes = [*odd(context), *([JUDGE_FIRST] if later_known else []), *([afterwards] if afterwards else [])]
    return Plan(
        photos=len(dataset.items),
        untagged=sum(not item.tags for item in dataset.items),
        set_aside=len(dataset.problems),
        classes=len(dataset.classes),
        steps=tuple(rows),
        device=_device(context) if counts or not little else "this machine",
        downloads=downloads,
        kept=kept,
        start=round(time.process_time(), 2),
        free=free_bytes(context.out),
        later=later,
        words=() if little or "matching" not in todo else _words(context, opened),
        notes=tuple(notes),
    )


def training_steps(context: Context, stage: str, opened: Opened) -> int:
    """How many optimizer steps a stage takes with the photos that are there."""
    from semples.training.feed import Plan as Feed
    from semples.training.schedule import Course, settled

    generator, photos, classes = opened.generator, len(context.listing.items), len(context.listing.classes)
    written = getattr(context.recipe, stage)
    settings = settled(written, photos=photos, classes=classes, width=0 if generator is None else generator.width)
    course = Course.of(settings, photos=photos)
    import numpy as np

    return Feed(np.zeros(photos), course.epochs, course.batch, context.recipe.run.seed, length=course.length).steps


def _unmeasured(context: Context, todo: Sequence[str], counts: dict[str, int]) -> list[StepPlan]:
    photos = len(context.listing.items)
    return [
        StepPlan(step, f"{counts[step]} steps" if step in counts else f"{photos} photos", None, None) for step in todo
    ]


def _with_kept(row: StepPlan, kept: KeptPhotos | None, context: Context) -> StepPlan:
    """A step that trains, with the memory of the photos that are kept meanwhile; a GPU's memory holds none."""
    if kept is None or not row.count or not row.memory or context.engine.device.type == "cuda":
        return row
    return replace(row, memory=row.memory + kept.memory)


def _measured(
    context: Context,
    todo: Sequence[str],
    counts: dict[str, int],
    opened: Opened,
    sizes: Sizes,
    *,
    with_segmenter: bool,
) -> tuple[list[StepPlan], StepPlan | None]:
    """Every step, and the segmenter that may follow where its start weights are at hand."""
    from semples.run.planning.looks import segmenter_plan
    from semples.run.planning.measure import Sample

    opened = _with_networks(context, todo, opened)
    with Sample.of(context.recipe, context.listing, opened, sizes, device=context.engine.device) as sample:
        if not sample.items:  # the data step says what is wrong with them
            return _unmeasured(context, todo, counts), None
        rows = [_row(sample, step, counts) for step in todo]
        at_hand = not any(need.missing for need in needs_of(context.recipe, [SEGMENTER]) if with_segmenter)
        return rows, segmenter_plan(sample) if with_segmenter and at_hand else None


def _with_networks(context: Context, todo: Sequence[str], opened: Opened) -> Opened:
    """The networks that timing needs, those of steps that are done included."""
    from semples.run.planning.models import open_models

    wanted = [step for step in todo if step in (*TRAINED, "cams", SELECTION)]
    no_judge = context.recipe.judge.kind == NO_JUDGE or set(wanted) <= {"warmup", "cams"}
    if not wanted or (opened.generator is not None and (opened.judge is not None or no_judge)):
        return opened
    again = ["warmup" if type(context.recipe.generator).TRAINABLE else "cams", SELECTION]
    return open_models(context.recipe, again, classes=context.listing.classes, device=context.engine.device)


def _row(sample: Sample, step: str, counts: dict[str, int]) -> StepPlan:
    """One step, measured."""
    from semples.run.planning.looks import look_cost
    from semples.training.timing import forget_peak, peak_bytes

    photos, recipe = len(sample.dataset.items), sample.recipe
    memory = disk = 0
    forget_peak(sample.device)
    what = f"{photos} photos"
    cost: Cost
    if step in counts:
        settings = getattr(recipe, step)
        batch = min(settings.batch, photos)
        parts = settings.accumulate if isinstance(settings.accumulate, int) else 1
        line = sample.stage(step)
        cost = line.of(batch).times(counts[step])
        memory, what = line.memory(-(-batch // parts)), f"{counts[step]} steps of {batch} photos"
        disk = _left_by(sample, step)
    elif step == "data":
        cost, disk = sample.reading(), PHOTO_BYTES * photos
    elif step == "cams":
        cost, disk = sample.cams()
    elif step == "regions":
        cost, disk = sample.regions()
    elif step == "labels":
        cost, disk = sample.labels()
    elif step == SELECTION:
        cost, disk = sample.selection()
        what = f"{min(recipe.selection.photos, photos)} photos"
    elif step.startswith(f"{HEALTH}-"):
        cost, what = look_cost(sample, step), "a look without masks"
    elif step == "scores":
        cost = sample.scoring()
        what = f"{sum(item.mask is not None for item in sample.dataset.items)} masks"
    else:  # curves of CAMs: timed with the scores
        from semples.training.timing import Cost as Nothing

        cost, what = Nothing(), "scored with the label maps"
    memory = max(memory, peak_bytes(sample.device))
    return StepPlan(step, what, round(cost.cpu, 2), round(cost.wall, 2), disk, memory, counts.get(step, 0))


def _left_by(sample: Sample, stage: str) -> int:
    """Bytes of what a stage saves."""
    generator, judge = sample.opened.generator, sample.opened.judge
    if STAGES.settings_of(stage).LEAVES == "backgrounds" and judge is not None:  # type: ignore[attr-defined]
        return 4 * judge.start_backgrounds(sample.recipe.prompts, seed=0).numel()
    assert generator is not None
    return sum(value.numel() * value.element_size() for value in generator.saved_state().values())


def _words(context: Context, opened: Opened) -> tuple[str, ...]:
    """Lines on classes that the judge does not tell."""
    from semples.judges.base import TextJudge
    from semples.run.ask_words import drawn_photos
    from semples.run.words import known_words

    if not isinstance(opened.judge, TextJudge):
        return ()
    items = drawn_photos(context.listing, count=ASKED, seed=context.recipe.run.seed)
    try:
        report = known_words(opened.judge, context.listing, items, recipe=context.recipe)
    except UserError:
        return ()
    return tuple(entry.line(report.judge) for entry in report.classes if entry.grade in ("weak", "chance"))


def odd(context: Context) -> list[str]:
    """What to know of the photos before hours are spent on them, a line each."""
    dataset, lines = context.listing, list[str]()
    counts = [sum(index in item.tags for item in dataset.items) for index in range(len(dataset.classes))]
    tagged = sum(bool(item.tags) for item in dataset.items)
    if not tagged:
        return ["no photo carries a tag: nothing can be learned, and every label map will be background"]
    rare = [(count, name) for count, name in zip(counts, dataset.classes.names, strict=True) if count < MIN_PHOTOS]
    if rare:
        shown = ", ".join(f"{name} {count}" for count, name in sorted(rare)[:5])
        more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
        lines.append(f"classes with fewer than {MIN_PHOTOS} photos learn little: {shown}{more}")
    known = [count for count in counts if count]
    if known and max(known) >= 50 * min(known):
        lines.append(f"the commonest class has {max(known)} photos, the rarest {min(known)}: it will be missed often")
    if len(dataset.classes) == 1:
        lines.append("one class only: the judge can tell it from nothing else; name what occurs beside it as well")
    if tagged == len(dataset.items) and len(dataset.classes) == 1:
        lines.append("every photo carries the only tag: add photos without it, or nothing tells what it looks like")
    return lines


def _device(context: Context) -> str:
    import torch

    device = context.engine.device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple's GPU (MPS)"
    threads = torch.get_num_threads()
    load = load_average()
    busy = f", of which other programs use {load:.0f}" if load > 1.5 else ""
    return f"{threads} {'thread' if threads == 1 else 'threads'} of {os.cpu_count()} processors{busy}"


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk that a folder lies on, or will."""
    return shutil.disk_usage(_disk(folder)).free


def _disk(folder: Path) -> Path:
    """The nearest folder around `folder` that is there."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def check_disk(context: Context, plan: Plan) -> None:
    """Raises UserError where the run would not fit on its disk."""
    there = sum(int(result_of(context.folder(step.step)).get("bytes", 0)) for step in plan.steps)
    needed = plan.most_disk
    if needed > plan.free + there:
        raise UserError(
            f"{context.out}: the run needs about {amount(needed)}, but {amount(plan.free)} are free on this disk; "
            "free some space, or choose another --out"
        )
