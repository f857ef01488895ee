"""The graph of a run: the ordered steps, what is up to date, what is resumed, healed or made anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.progress import duration
from semples.core.systems import cpu_seconds
from semples.run import outputs
from semples.run.context import Context
from semples.run.folder import lock, write_run
from semples.run.machines import meet, wait_for_manifest
from semples.run.records import (
    STARTED,
    empty,
    finish,
    heal_manifest,
    note_reads,
    read_manifest,
    reopen,
    started_reads,
    sweep,
)
from semples.run.step import Step
from semples.run.updating import at_stake, check, check_update, forget_before, keep_weights
from semples.run.work import Work, changed, fingerprint

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one step: `done` now, or `up to date` before."""

    step: str
    state: str
    seconds: float
    result: dict[str, Any]


def bring_all(
    context: Context,
    steps: Sequence[Step],
    *,
    start: str | None = None,
    update: bool = False,
    asked: Collection[str] = (),
    tell: Tell = lambda line: None,
    before: Callable[[], None] = lambda: None,
    after: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Bring steps up to date, in order; from the step `start` on they are made anew even where they are.

    update: stages that are to be made anew go on from the weights that they left before. asked: steps that may be made
    anew without a word, beside those from `start` on. before: called in the main process once the folder can be written
    to. after: there, with what became of each step. Raises UserError where too much work would be lost unasked, and
    what `before` raises: in the main process, while the others end without a word.
    """
    names = [step.name for step in steps]
    forced_from = names.index(start) if start is not None else len(names)
    outcomes = []
    with lock(context):
        meet(context)

        def begin() -> None:
            stakes = at_stake(context, steps, forced={*names[forced_from:], *asked})
            if update:
                check_update(context, stakes)
            elif line := check(context, stakes):
                tell(line)
            write_run(context)
            before()

        context.ranks.first(begin)
        for place, step in enumerate(steps):
            outcomes.append(bring(context, step, forced=place >= forced_from, update=update, tell=tell))
            if not any(later.weights for later in steps[place + 1 :]):  # nothing is trained any more
                context.forget_decoded()
            if context.is_main:
                after(outcomes[-1])
    return outcomes


def bring(
    context: Context, step: Step, *, forced: bool = False, update: bool = False, tell: Tell = lambda line: None
) -> Outcome:
    """Bring one step up to date. The caller holds the folder's lock."""
    folder = context.folder(step.name)
    manifest, fresh = context.ranks.of_main(lambda: _as_it_was(context, step, folder, forced=forced))
    if fresh and manifest is not None and _whole(context, folder, manifest, tell=tell, step=step):
        if context.is_main:
            forget_before(folder)  # cut before it could
            tell(f"{step.name}: up to date")
        return Outcome(step.name, "up to date", manifest["seconds"], manifest["result"])
    if context.is_main:
        left = _prepare(context, step, folder, keep=not forced, update=update)
        tell(f"{step.name}: {left or step.about}")
    context.wait()
    begin, cpu = time.monotonic(), cpu_seconds()
    context.forget_photos()
    work = Work(context, step.name, folder, needs=step.needs, facts=step.facts, on_read=partial(note_reads, folder))
    result = step.run(work)
    context.wait()
    seconds, worked = round(time.monotonic() - begin, 3), round(cpu_seconds() - cpu, 3)
    if context.is_main:
        reads = work.reads or {}
        described = {
            "step": step.name,
            "version": step.version,
            "about": step.about,
            "fingerprint": fingerprint(f"{step.name}/{step.version}", reads),
            "reads": reads,
            "seconds": seconds,
            "cpu_seconds": worked,
            "processes": context.processes,
            **context.numerics,
        }
        finish(folder, described, result)
        forget_before(folder)  # not earlier: a step that is cut before it is finished goes on from there
        said = step.said(result) if step.said else ""
        tell(f"{step.name}: done in {duration(seconds)}" + (f": {said}" if said else ""))
    wait_for_manifest(context, folder)
    context.wait()
    return Outcome(step.name, "done", seconds, result)


def _as_it_was(context: Context, step: Step, folder: Path, *, forced: bool) -> tuple[dict[str, Any] | None, bool]:
    """The manifest of a finished step, and whether all that it has read is as it was."""
    manifest = read_manifest(folder)
    if manifest is None or forced or manifest.get("version") != step.version:
        return manifest, False
    return manifest, not changed(context, manifest["reads"], step.facts)


def _whole(context: Context, folder: Path, manifest: dict[str, Any], *, tell: Tell, step: Step) -> bool:
    """Whether a finished step's files are as they were made. Where not, the step is opened again, without those that
    are damaged; where nobody can tell which are, without any."""
    wrong = outputs.damaged(folder, manifest["outputs"], content=True, ranks=context.ranks)
    context.wait()
    if not wrong and wrong is not None:
        if context.is_main:
            heal_manifest(folder, manifest)
        return True
    if context.is_main:
        if wrong is None:
            tell(f"{step.name}: files are missing or damaged, and so is their list; the step is made anew")
            empty(folder)
        else:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            tell(f"{step.name}: {wrong[0].relative_to(context.out)}{more} missing or damaged, made again")
            reopen(folder, manifest, wrong)
    context.wait()
    return False


def _prepare(context: Context, step: Step, folder: Path, *, keep: bool, update: bool) -> str:
    """Make the folder ready, and say of what: of what an interrupted run of the same step left, of the weights that an
    update goes on from; empty where all of ours goes."""
    manifest, reads = read_manifest(folder), started_reads(folder)
    if keep and manifest is not None and manifest.get("version") == step.version:
        keys = changed(context, manifest["reads"], step.facts)
        if all(key.startswith(step.notes) for key in keys):
            reopen(folder, {"reads": {key: value for key, value in manifest["reads"].items() if key not in keys}}, [])
            return "resuming"
    elif keep and manifest is None and reads is not None:
        keys = changed(context, reads, step.facts)
        if all(key.startswith(step.notes) for key in keys):
            sweep(folder)
            note_reads(folder, {key: value for key, value in reads.items() if key not in keys})
            return "resuming"
    if update and step.weights and keep_weights(folder, step):
        note_reads(folder, {})
        return "going on from the weights that it left before"
    empty(folder)
    note_reads(folder, {})
    return ""


@dataclass(frozen=True)
class StepStatus:
    """state: `done`, `outdated` (what it has read has changed since: `why`, a line each), `damaged`, `interrupted` or
    `not run`; share: how much of an interrupted step is there, 0..1, where known."""

    step: str
    about: str
    state: str
    share: float | None
    seconds: float | None
    result: dict[str, Any]
    why: tuple[str, ...] = ()


def status(context: Context, steps: Sequence[Step], wanted: Sequence[str]) -> list[StepStatus]:
    """How far every step of a run is; `wanted`: names of those that a whole run has."""
    statuses = []
    stale: set[str] = set()
    for step in steps:
        folder = context.folder(step.name)
        manifest = read_manifest(folder)
        if manifest is not None:
            why = _why_stale(context, step, manifest, stale)
            if why:
                stale.add(step.name)
            state = "outdated" if why else "done"
            if not why and outputs.damaged(folder, manifest["outputs"], content=False) != []:
                state = "damaged"
            statuses.append(
                StepStatus(step.name, step.about, state, None, manifest["seconds"], manifest["result"], why)
            )
        elif (folder / STARTED).is_file():
            statuses.append(StepStatus(step.name, step.about, "interrupted", step.partial(context, folder), None, {}))
        elif step.name in wanted:
            statuses.append(StepStatus(step.name, step.about, "not run", None, None, {}))
    return statuses


def _why_stale(context: Context, step: Step, manifest: dict[str, Any], stale: set[str]) -> tuple[str, ...]:
    """Why the step would be made anew, a line each: a setting, an input or a step that it has read has changed."""
    reads = manifest["reads"]
    earlier = [name for key in reads if key.startswith("step:") and (name := key.partition(":")[2]) in stale]
    if earlier:
        return tuple(f"{name} is outdated" for name in earlier)
    lines: list[str] = []
    for key, value in reads.items():
        try:
            lines += changed(context, {key: value}, step.facts).values()
        except UserError:  # photos or models are not at hand: what is stored has to do
            continue
    if manifest.get("version") != step.version:
        lines.append("this version makes it otherwise")
    return tuple(lines)
