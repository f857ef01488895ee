"""What a step of a run is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semples.recipe import Recipe
from semples.run.context import Context
from semples.run.work import Fact, Work


@dataclass(frozen=True)
class Step:
    """One piece of a run.

    needs: the steps that it may read, in a run that has them. run: does the work in its folder (making only what it
    does not find there) and returns plain figures for the manifest; all processes call it. What it reads on its `Work`
    decides whether it is up to date later. partial: which share (0..1) of an interrupted step is there, where known.
    wanted: whether a run by this recipe has the step. facts: what it reads beyond settings, weights and steps. notes:
    beginnings of keys of what only notes beside its main result depend on: where nothing else has changed, `run` finds
    what it left before. weights: files of its folder that an update goes on from; it finds those that there are in
    `updating.BEFORE`. said: its figures in a line, where they are for people.
    """

    name: str
    about: str
    needs: tuple[str, ...]
    run: Callable[[Work], dict[str, Any]]
    version: int = 1
    partial: Callable[[Context, Path], float | None] = field(default=lambda context, folder: None)
    wanted: Callable[[Recipe], bool] = field(default=lambda recipe: True)
    facts: Mapping[str, Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    said: Callable[[dict[str, Any]], str] | None = None


def photos_there(context: Context, count: Callable[[], int]) -> float | None:
    """The share of the run's photos that `count` finds done; None for none."""
    done = count()
    return done / max(1, len(context.dataset.items)) if done else None


def checkpoint_share(context: Context, folder: Path) -> float | None:
    """Which share of the training a checkpoint holds."""
    from semples.training.checkpoint import load_progress
    from semples.training.loop import CHECKPOINT

    progress = load_progress(folder / CHECKPOINT)
    return None if progress is None else progress.done
