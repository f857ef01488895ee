"""A run's folder: what it is made from, one writer at a time, and what is finished in the folder of every step.

run.json, recipe.yaml      recipe and photos, so that later commands need only the folder
STEP/started.json          the step has begun; with the fingerprint of all that its result depends on
STEP/manifest.json         the step is done: the same fingerprint and the step's figures
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import is_unfinished, read_file, read_json, write_json, write_text
from semples.core.lock import exclusive
from semples.core.plain import is_utf8
from semples.core.schema import to_dict, to_yaml
from semples.recipe import Recipe, recipe_from_dict
from semples.run.context import Context, Source

MANIFEST = "manifest.json"
STARTED = "started.json"
RUN = "run.json"
RECIPE = "recipe.yaml"


def prepare(folder: Path, fingerprint: str, *, keep: bool) -> bool:
    """Make the folder ready: what an interrupted run of the same step left stays, anything else of ours goes.

    It may be cut at any moment: a folder that is being emptied is marked, and never taken for a finished or resumable
    one.
    """
    left = list(folder.iterdir()) if folder.exists() else []
    started = folder / STARTED
    if any(not is_unfinished(path) for path in left):
        if not started.is_file() and not (folder / MANIFEST).is_file():
            raise UserError(f"{folder}: not empty and not made by this program; choose another --out")
        same = keep and started.is_file() and read_json(started).get("fingerprint") == fingerprint
        if same and not (folder / MANIFEST).is_file():
            for path in list(folder.rglob(".*")):
                if is_unfinished(path):
                    path.unlink()
            return True
        write_json(started, {"fingerprint": "being emptied"})
        (folder / MANIFEST).unlink(missing_ok=True)
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != started:
            path.unlink(missing_ok=True)
    write_json(started, {"fingerprint": fingerprint})
    return False


def finish(folder: Path, described: dict[str, Any], result: dict[str, Any]) -> None:
    """Write the manifest: what the step's result depends on, and its figures. From now on the step is done."""
    finished = {"semples": __version__, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    figures = {key: _finite(value) for key, value in result.items()}
    write_json(folder / MANIFEST, described | finished | {"result": figures})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished step; None where it is not finished."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not {"fingerprint", "seconds", "result"} <= manifest.keys():
        raise UserError(f"{path}: not a manifest of this program; delete the folder to make it anew")
    return manifest


def write_run(context: Context) -> None:
    """Remember recipe and photos, so that later commands need only the folder."""
    source = context.source
    described = {
        "recipe": to_dict(context.recipe),
        "data": str(source.root.resolve()),
        "tags": None if source.tags is None else str(source.tags.resolve()),
        "classes": None if source.classes is None else str(source.classes.resolve()),
    }
    keep_both(context.out, described, to_yaml(context.recipe))


def keep_both(out: Path, described: dict[str, Any], recipe: str) -> None:
    """Bring recipe.yaml and run.json up to date, the recipe first: cut in between, the next run does both anew."""
    wanted = json.loads(json.dumps(described))
    if _content(out / RECIPE) == recipe.encode() and _content(out / RUN) is not None:
        with suppress(UserError):
            if read_json(out / RUN) == wanted:
                return
    write_text(out / RECIPE, recipe)
    write_json(out / RUN, described)


def _content(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none that can be read."""
    try:
        return read_file(path)
    except (OSError, UserError):
        return None


def open_run(out: Path) -> Context:
    """The run that a folder holds."""
    path = out / RUN
    if not path.is_file():
        raise UserError(
            f"{out}: no run here ({RUN} is missing); start one with `semples run RECIPE --data DIR --out {out}`"
        )
    stored = read_json(path)
    recipe: Recipe = recipe_from_dict(stored["recipe"], where=str(path))
    files = {key: None if stored[key] is None else Path(stored[key]) for key in ("tags", "classes")}
    return Context(recipe, Source(Path(stored["data"]), **files), out)


@contextmanager
def lock(context: Context) -> Iterator[None]:
    """Keep a second run out of the folder while this one writes; the lock goes with the process."""
    if not context.is_main:
        yield
        return
    if not is_utf8(str(context.out.absolute())):
        raise UserError(f"{context.out}: the name of this folder is not UTF-8; choose another --out")
    with exclusive(context.out, what="another run"):
        yield
