"""The step of a judge that learns from photos and tags before it judges."""

from __future__ import annotations

from typing import Any

from semples.recipe import Recipe
from semples.run.models import LEARNED
from semples.run.names import JUDGE
from semples.run.step import Step
from semples.run.work import Work


def step() -> Step:
    """Part of a run whose judge learns."""
    return Step(JUDGE, "the judge learns from the tags", ("data",), _run, wanted=wanted)


def wanted(recipe: Recipe) -> bool:
    """Whether the recipe's judge has to learn."""
    return type(recipe.judge).LEARNS


def _run(work: Work) -> dict[str, Any]:
    from semples.judges.base import build_judge, save_learned
    from semples.judges.tags import TagJudge, describe

    judge = build_judge(work.settings("judge"), classes=work.dataset.classes).to(work.device)
    figures = judge.learn_from(work.dataset, seed=work.setting("run.seed"))
    if work.is_main:
        save_learned(judge, work.folder / LEARNED)
    work.wait()
    figures |= describe(judge) if isinstance(judge, TagJudge) else {}
    return {"photos": len(work.dataset.items)} | {name: round(value, 4) for name, value in figures.items()}
