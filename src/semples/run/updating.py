"""What a change would throw away, said before it is; and going on from the weights that are there.

A step is made anew when something that it has read has changed. Where that takes away more work than
`run.careful_minutes`, `semples run` stops with a line, unless it is told what to do: `--update` starts every stage from
the weights that it left before, `--from STEP` starts anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import sha256_file
from semples.core.progress import duration
from semples.recipe import StageSettings
from semples.run import photos
from semples.run.context import Context
from semples.run.models import GENERATOR, PROMPTS
from semples.run.names import BEFORE, HEALTH
from semples.run.records import empty, read_manifest, started_reads
from semples.run.work import changed

if TYPE_CHECKING:
    from semples.run.step import Step
    from semples.stages.base import Stage

CHECKPOINT = "checkpoint.safetensors"
SHARE = 1 / 3  # of a stage's training that an update takes; own choice


@dataclass(frozen=True)
class Stake:
    """A step that would be made anew, the seconds of work in it, and why."""

    step: str
    seconds: float
    why: str


def at_stake(context: Context, steps: Sequence[Step], *, forced: Collection[str]) -> list[Stake]:
    """The steps that would be made anew though nobody has asked for it, in order. forced: those that are asked for."""
    stakes: list[Stake] = []
    stale: set[str] = set()
    for step in steps:
        folder = context.folder(step.name)
        manifest = read_manifest(folder)
        reads = started_reads(folder) if manifest is None else manifest["reads"]
        if reads is None:
            continue
        earlier = [name for name in stale if (key := f"step:{name}") in reads and not key.startswith(step.notes)]
        try:
            lines = {} if earlier else changed(context, reads, step.facts)
        except UserError:  # a damaged file of an earlier step, which that step makes again as it was
            continue
        serious = [line for key, line in lines.items() if not key.startswith(step.notes)]
        if manifest is not None and manifest.get("version") != step.version:
            serious.append("this version makes it otherwise")
        if not earlier and not serious:
            continue
        stale.add(step.name)
        seconds = float(manifest["seconds"]) if manifest is not None else _trained(folder)
        is_work = not step.name.startswith(HEALTH)  # a look is made again in seconds
        if is_work and step.name not in forced and seconds > 0:
            stakes.append(Stake(step.name, seconds, serious[0] if serious else f"{earlier[0]} changes"))
    return stakes


def _trained(folder: Path) -> float:
    """Seconds of training in an interrupted step."""
    from semples.training.checkpoint import load_progress

    progress = load_progress(folder / CHECKPOINT)
    return 0.0 if progress is None else progress.seconds


def check(context: Context, stakes: Sequence[Stake]) -> str:
    """A line on what is made anew, empty for nothing. Raises UserError where that is too much work to lose unasked."""
    if not stakes:
        return ""
    seconds = sum(stake.seconds for stake in stakes)
    names = ", ".join(stake.step for stake in stakes)
    if seconds > 60 * context.recipe.run.careful_minutes:
        raise UserError(
            f"{stakes[0].why}: {names} would be made anew, {duration(seconds)} of work; nothing is touched. Give run "
            f"the option --update to go on from the weights that are there, or --from {stakes[0].step} to start anew"
        )
    return f"made anew, since {stakes[0].why}: {names}"


def check_update(context: Context, stakes: Sequence[Stake]) -> None:
    """Raise UserError where no stage can go on from its weights: they are of other classes."""
    if stakes and photos.has_other_classes(context.folder("data"), context.listing):
        raise UserError(
            f"{stakes[0].why}: weights of other classes cannot be gone on from; nothing is touched. Leave --update "
            f"out, and give --from {stakes[0].step} to start anew"
        )


# -------------------------------------------------------------------------------------------------- going on from them


def keep_weights(folder: Path, step: Step) -> bool:
    """Empty a step's folder but for the weights that it left, which then lie in `BEFORE`; False where there are
    none."""
    place = folder / BEFORE
    newest = [name for name in step.weights if (folder / name).is_file()]
    finished = [name for name in newest if name != CHECKPOINT]
    for name in finished or newest:
        place.mkdir(exist_ok=True)
        for old in place.iterdir():
            old.unlink()
        (folder / name).replace(place / name)
    kept = place.is_dir() and any(place.iterdir())
    empty(folder, keep=BEFORE if kept else "")
    return kept


def start_from_before(task: Stage, folder: Path) -> str | None:
    """Give a stage the weights that its step left before, where an update goes on from some; their SHA-256, else None.

    Raises UserError where they do not fit.
    """
    import torch

    from semples.generators.base import load_generator
    from semples.stages.background_prompts import load_prompts

    place = folder / BEFORE
    files = sorted(place.iterdir()) if place.is_dir() else []
    if not files:
        return None
    path = files[0]
    other = UserError(f"{path}: weights of other classes or sizes; --update cannot go on from them, use --from")
    with torch.no_grad():
        if path.name == GENERATOR:
            before = load_generator(path)
            if before.classes != task.generator.classes:
                raise other
            task.generator.load_saved(before.saved_state(), where=str(path))
        elif path.name == PROMPTS:
            vectors, _ = load_prompts(path)
            learned = task.backgrounds
            if learned is None or vectors.shape != learned.vectors.shape:
                raise other
            learned.vectors.copy_(vectors)
        else:
            _from_checkpoint(task, path, other)
    return sha256_file(path)


def _from_checkpoint(task: Stage, path: Path, other: UserError) -> None:
    from safetensors import safe_open

    parameters: dict[str, Any] = dict(task.named_parameters())
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dictionary)
            kind, _, rest = name.partition("/")
            if kind == "weights" and rest in parameters:
                value = file.get_tensor(name)
                if value.shape != parameters[rest].shape:
                    raise other
                parameters[rest].copy_(value)


def forget_before(folder: Path) -> None:
    """An update has ended: what it went on from goes."""
    shutil.rmtree(folder / BEFORE, ignore_errors=True)


def shortened(settings: StageSettings) -> StageSettings:
    """A stage's settings for an update: a third of its training."""
    known = {entry.name for entry in fields(settings)}
    less: dict[str, Any] = {
        name: max(1, round(SHARE * value))
        for name in ("epochs", "steps")
        if name in known and isinstance(value := getattr(settings, name), int) and value > 1
    }
    return replace(settings, **less) if less else settings
