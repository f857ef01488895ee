"""Words that lie nearest to the learned background prompts: what each class's background was found to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.judges.words import read_words
from semples.run.context import Context

LEARNED = "prompting"  # the stage that learns backgrounds


def nearest_words(context: Context, *, words: Path | None, count: int) -> dict[str, list[dict[str, Any]]]:
    """For every class the `count` words whose text feature has the largest cosine with its prompt's, best first.

    words: text file, one word or phrase a line; default a shipped list. A word is embedded in the class template
    ("a photo of {word}."). Raises UserError where the judge is none of texts.
    Returns {class: [{"word": str, "cosine": float}]}.
    """
    import torch

    from semples.run.models import RunParts
    from semples.run.work import Work

    if not knows_words(context):
        raise UserError(f"the judge {context.recipe.judge.kind} knows no words, so its backgrounds have none")
    listed = read_words(words)
    parts = RunParts(Work.outside(context, LEARNED))
    vectors_KMW = parts.backgrounds_after(LEARNED)
    judge: Any = parts.judge()
    with torch.no_grad():
        learned_KE = judge.encode_backgrounds(vectors_KMW.to(judge.device), parts.prompts)
        cosine, index = (learned_KE @ judge.encode_words(listed).t()).topk(min(count, len(listed)), dim=1)
    names = context.dataset.classes.names
    return {
        name: [{"word": listed[i], "cosine": round(c, 6)} for c, i in zip(row.tolist(), where.tolist(), strict=True)]
        for name, row, where in zip(names, cosine, index, strict=True)
    }


def knows_words(context: Context) -> bool:
    """Whether the run's judge is one of texts."""
    from semples.judges.base import TextJudge
    from semples.settings.judges import NO_JUDGE
    from semples.settings.kinds import JUDGES

    return context.recipe.judge.kind != NO_JUDGE and issubclass(JUDGES.load(context.recipe.judge.kind), TextJudge)
