"""A run's folder: what it is made from, and one writer at a time. What is in the folders of its steps: `records`.

run.json, recipe.yaml      recipe and photos, so that later commands need only the folder
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import read_file, write_json, write_text
from semples.core.lock import exclusive
from semples.core.plain import is_utf8
from semples.core.schema import to_dict, to_yaml
from semples.recipe import Recipe, recipe_from_dict
from semples.run.context import Context
from semples.run.names import RECIPE, RUN
from semples.run.photos import Source
from semples.run.records import FORMAT, parsed


def write_run(context: Context) -> None:
    """Remember recipe and photos, so that later commands need only the folder. run.json is written last: where it is,
    the recipe beside it is the same."""
    source = context.source
    described = {
        "format": FORMAT,
        "recipe": to_dict(context.recipe),
        "data": str(source.root.resolve()),
        "tags": None if source.tags is None else str(source.tags.resolve()),
        "classes": None if source.classes is None else str(source.classes.resolve()),
    }
    keep_both(context.out, described, to_yaml(context.recipe))


def keep_both(out: Path, described: dict[str, Any], recipe: str) -> None:
    """Bring recipe.yaml and run.json up to date, the recipe first: cut in between, the next run does both anew."""
    wanted = json.loads(json.dumps(described))
    if _content(out / RECIPE) == recipe.encode() and (out / RUN).is_file() and parsed(out / RUN) == wanted:
        return
    write_text(out / RECIPE, recipe)
    write_json(out / RUN, described)


def _content(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none that can be read."""
    try:
        return read_file(path)
    except (OSError, UserError):
        return None


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run."""
    return (folder / RUN).is_file()


def open_run(out: Path) -> Context:
    """The run that a folder holds."""
    path = out / RUN
    if not path.is_file():
        raise UserError(
            f"{out}: no run here ({RUN} is missing); start one with `semples run RECIPE --data DIR --out {out}`"
        )
    stored = parsed(path)
    if stored is None:
        raise UserError(
            f"{path}: damaged, or not of this program; give the command again that the run was started with"
        )
    try:
        recipe: Recipe = recipe_from_dict(stored["recipe"], where=str(path))
        files = {key: None if stored[key] is None else Path(stored[key]) for key in ("tags", "classes")}
        return Context(recipe, Source(Path(stored["data"]), **files), out)
    except (KeyError, TypeError):
        raise UserError(f"{path}: not a run of this program; give its recipe and photos again") from None


@contextmanager
def lock(context: Context) -> Iterator[None]:
    """Keep a second run out of the folder while this one writes; the lock goes with the process. At the end trackers
    that the work has opened are closed. All processes have to call it; it is the main one that is refused."""
    with ExitStack() as stack:

        def enter() -> None:
            if not is_utf8(str(context.out.absolute())):
                raise UserError(f"{context.out}: the name of this folder is not UTF-8; choose another --out")
            stack.enter_context(exclusive(context.out, what="another run"))
            stack.callback(context.close_tracking)

        context.ranks.first(enter)
        yield
