"""A run's folder: what it is made from, and one writer at a time. What is in the folders of its steps: `records`.

run.json, recipe.yaml      recipe and photos, so that later commands need only the folder
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import write_json, write_text
from semples.core.schema import to_dict, to_yaml
from semples.recipe import Recipe, recipe_from_dict
from semples.run.context import Context
from semples.run.photos import Source
from semples.run.records import FORMAT, parsed

RUN = "run.json"
RECIPE = "recipe.yaml"


def write_run(context: Context) -> None:
    """Remember recipe and photos, so that later commands need only the folder. run.json is written last: where it is,
    the recipe beside it is the same."""
    source = context.source
    path = context.out / RUN
    described = {
        "format": FORMAT,
        "recipe": to_dict(context.recipe),
        "data": str(source.root.resolve()),
        "tags": None if source.tags is None else str(source.tags.resolve()),
        "classes": None if source.classes is None else str(source.classes.resolve()),
    }
    text = to_yaml(context.recipe)
    recipe = context.out / RECIPE
    if not recipe.is_file() or recipe.read_bytes() != text.encode():
        write_text(recipe, text)
    if not path.is_file() or parsed(path) != json.loads(json.dumps(described)):
        write_json(path, described)


def open_run(out: Path) -> Context:
    """The run that a folder holds."""
    path = out / RUN
    if not path.is_file():
        raise UserError(
            f"{out}: no run here ({RUN} is missing); start one with `semples run RECIPE --data DIR --out {out}`"
        )
    stored = parsed(path)
    if stored is None:
        raise UserError(f"{path}: damaged, or not of this program; give the same `semples run` command as before")
    try:
        recipe: Recipe = recipe_from_dict(stored["recipe"], where=str(path))
        files = {key: None if stored[key] is None else Path(stored[key]) for key in ("tags", "classes")}
        return Context(recipe, Source(Path(stored["data"]), **files), out)
    except (KeyError, TypeError):
        raise UserError(f"{path}: not a run of this program; give its recipe and photos again") from None


@contextmanager
def lock(context: Context) -> Iterator[None]:
    """Keep a second run out of the folder while this one writes; the lock goes with the process."""
    if not context.is_main:
        yield
        return
    try:
        context.out.mkdir(parents=True, exist_ok=True)
        file = open(context.out / ".lock", "w", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"{context.out}: cannot be written: {error.strerror}; --out names a folder") from None
    with file:
        if not _try_lock(file):
            raise UserError(f"{context.out}: another run is writing here; wait for it or choose another --out")
        yield


def _try_lock(file: Any) -> bool:
    try:
        import fcntl
    except ImportError:  # not on this system: nothing keeps a second run out
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
