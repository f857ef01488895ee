"""Preflight: everything that would stop a later step of a run is looked at before the first one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semples.core.errors import UserError, note
from semples.recipe import Recipe
from semples.run.context import Context
from semples.run.names import SEGMENTER, TRAINED
from semples.run.planning.models import Opened, check_at_hand, groups_of, needs_of, open_models
from semples.run.records import read_manifest, started_reads
from semples.run.work import setting_of


def preflight(context: Context, steps: Sequence[str], *, forced: Sequence[str] = ()) -> Opened:
    """Look at all that `steps` will need; forced: those that are made anew even where they are done.

    Weights are resolved, networks built and asked once; the folders of the steps, batches and processes are checked.
    Steps that are done as the recipe has it now are passed over. Raises UserError, in one line, for what would stop a
    step later on. Returns the networks, of which what nobody keeps is freed.
    """
    todo = [step for step in steps if step in forced or not is_done(context, step)]
    for step in todo:
        _check_folder(context.folder(step), step)
    check_at_hand(needs_of(context.recipe, todo))
    trained = [step for step in todo if step in (*TRAINED, SEGMENTER)]
    if trained:
        check_batches(context.recipe, trained, photos=len(context.listing.items), processes=context.processes)
        remark_on_segmenter(context.recipe, trained, photos=len(context.listing.items), processes=context.processes)
    opened = Opened()
    if groups_of(context.recipe, todo):
        opened = open_models(context.recipe, todo, classes=context.listing.classes, device=context.engine.device)
    return opened


def is_done(context: Context, step: str) -> bool:
    """Whether a step was brought to its end with the settings that the recipe has now."""
    manifest = read_manifest(context.folder(step))
    if manifest is None:
        return False
    reads = {key.partition(":")[2]: value for key, value in manifest["reads"].items() if key.startswith("setting:")}
    return all(setting_of(context.recipe, key) == value for key, value in reads.items())


def _check_folder(folder: Path, step: str) -> None:
    """Raises UserError where a step could not write: its folder is a file, or somebody else's."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file stands where the step {step} needs a folder; choose another --out")
    started_reads(folder)


def remark_on_segmenter(recipe: Recipe, trained: Sequence[str], *, photos: int, processes: int) -> None:
    """A line, before the stages train, where so many processes could not train the segmenter afterwards."""
    try:
        check_batches(recipe, [SEGMENTER] if SEGMENTER not in trained else [], photos=photos, processes=processes)
    except UserError as error:
        note(f"later, `semples segment train` refuses so many processes: {error}")


def check_batches(recipe: Recipe, trained: Sequence[str], *, photos: int, processes: int) -> None:
    """Raises UserError where a batch of a step that trains cannot be shared as the recipe asks for."""
    from semples.training.feed import Plan

    for step in trained:
        settings = getattr(recipe, step)
        batch = min(settings.batch, photos)
        try:
            parts = 1 if settings.accumulate == "auto" else settings.accumulate
            Plan(np.zeros(photos, np.int64), 1, batch, recipe.run.seed, processes=processes, parts=parts)
        except UserError as error:
            raise UserError(f"{step}: {error}") from None
