"""The data step: list the photos, decode each once, set aside what cannot be read, and write down what is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from semples.core.errors import UserError
from semples.data.verify import verify_photos
from semples.run.photos import store_dataset
from semples.run.step import Step
from semples.run.turned_tags import turned_over, write_turned
from semples.run.work import Work


def step() -> Step:
    """List and check the photos."""
    return Step("data", "photos and tags", (), _run)


def _run(work: Work) -> dict[str, Any]:
    work.settings("data", leave_out=("train_side",))
    dataset = work.listing
    verified = verify_photos(dataset, workers=max(1, work.workers), ranks=work.ranks)
    if not work.is_main:
        return {}
    if not verified.kept:
        problems = (*dataset.problems, *verified.problems)
        raise UserError(f"{dataset.root}: no photo can be read; the first: {problems[0].where}: {problems[0].what}")
    turned = {}
    least = work.setting("data.turn_tags")
    if least > 0:
        items, listed = turned_over(work, dataset, verified.kept, least=least)
        verified, turned = replace(verified, kept=items), {"turned_tags": len(listed)}
        write_turned(work.folder, listed)
    problems = store_dataset(work.folder, dataset, verified, source=work.source)
    return turned | {
        "photos": len(verified.kept),
        "classes": len(dataset.classes),
        "untagged": sum(not item.tags for item in verified.kept),
        "set_aside": len(problems),
    }
