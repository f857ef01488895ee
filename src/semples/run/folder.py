"""A run's folder: what it is made from, one writer at a time, and what is finished in the folder of every step.

run.json, recipe.yaml      recipe and photos, so that later commands need only the folder
STEP/started.json          the step has begun; with all that it has read so far, and in the end its manifest once more
STEP/manifest.json         the step is done: all that it has read, and its figures
STEP/outputs.txt           every file it has made: SHA-256, bytes, path; the manifest has its digest
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import is_unfinished, read_json, write_json, write_text
from semples.core.schema import to_dict, to_yaml
from semples.recipe import Recipe, recipe_from_dict
from semples.run import outputs
from semples.run.context import Context
from semples.run.photos import Source

FORMAT = 2  # of run.json, started.json and manifest.json
MANIFEST = "manifest.json"
STARTED = "started.json"
RUN = "run.json"
RECIPE = "recipe.yaml"


# ---------------------------------------------------------------------------------------------------- one step's folder


def started_reads(folder: Path) -> dict[str, Any] | None:
    """All that an unfinished step in this folder has read so far; None where none has begun.

    Raises UserError for a folder that is neither empty nor made by this program.
    """
    left = [path for path in folder.iterdir() if not is_unfinished(path)] if folder.exists() else []
    started = folder / STARTED
    if started.is_file():
        stored = _parsed(started)
        return dict(stored["reads"]) if stored and isinstance(stored.get("reads"), dict) else None
    if left and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: not empty and not made by this program; choose another --out")
    return None


def note_reads(folder: Path, reads: dict[str, Any]) -> None:
    """Write down what the step at work in this folder has read so far."""
    write_json(folder / STARTED, {"format": FORMAT, "reads": reads})


def empty(folder: Path) -> None:
    """Remove all that a step left. It may be cut at any moment: the folder is never taken for a finished or resumable
    one then."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STARTED, {"format": FORMAT, "reads": None})
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != STARTED:
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove unfinished files of a killed program; nobody else writes here."""
    for path in list(folder.rglob(".*")):
        if is_unfinished(path):
            path.unlink()


def reopen(folder: Path, manifest: dict[str, Any], damaged: list[Path]) -> None:
    """Make a finished step an unfinished one that lacks the damaged files, so that it is brought to its end again."""
    note_reads(folder, manifest["reads"])
    for path in (folder / MANIFEST, folder / outputs.OUTPUTS, *damaged):
        path.unlink(missing_ok=True)


def finish(folder: Path, described: dict[str, Any], result: dict[str, Any]) -> None:
    """Write the list of outputs, then the manifest. From now on the step is done."""
    listed = outputs.write(folder, leave_out=(MANIFEST, STARTED))
    finished = {"format": FORMAT, "semples": __version__, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    figures = {key: _finite(value) for key, value in result.items()}
    manifest = json.loads(json.dumps(finished | described | {"outputs": listed, "result": figures}))
    manifest["check"] = _check(manifest)
    write_json(folder / STARTED, {"format": FORMAT, "reads": manifest["reads"], "manifest": manifest})
    write_json(folder / MANIFEST, manifest)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value


def _check(manifest: dict[str, Any]) -> str:
    """What tells a manifest that was damaged from a whole one."""
    rest = {key: value for key, value in manifest.items() if key != "check"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished step; None where it is not finished. A lost or damaged one is read from its copy.

    Raises UserError for one of another version of this program.
    """
    path = folder / MANIFEST
    manifest = _parsed(path) if path.is_file() else None
    if manifest is None or manifest.get("check") != _check(manifest):
        copy = _parsed(folder / STARTED) if (folder / STARTED).is_file() else None
        manifest = None if copy is None else copy.get("manifest")
        if not isinstance(manifest, dict) or manifest.get("check") != _check(manifest):
            return None
    return manifest


def heal_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest or its copy again where it is not whole."""
    whole = {"format": FORMAT, "reads": manifest["reads"], "manifest": manifest}
    for path, value in ((folder / STARTED, whole), (folder / MANIFEST, manifest)):
        if not path.is_file() or _parsed(path) != value:
            write_json(path, value)


def result_of(folder: Path) -> dict[str, Any]:
    """The figures of a finished step; empty where it is not finished."""
    manifest = read_manifest(folder)
    return {} if manifest is None else dict(manifest["result"])


def _parsed(path: Path) -> dict[str, Any] | None:
    """A JSON object of this program; None where the file is damaged. Raises UserError for one of another version."""
    try:
        stored = read_json(path)
    except (UserError, OSError):
        return None
    if not isinstance(stored, dict):
        return None
    if "format" not in stored and {"fingerprint", "recipe"} & stored.keys():
        raise UserError(
            f"{path}: made by semples {stored.get('semples', '0.1.0')}, whose runs this version ({__version__}) does "
            "not read; choose another --out, or go on with that version"
        )
    if stored.get("format") != FORMAT:
        return None
    return stored


# ------------------------------------------------------------------------------------------------------- the whole run


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
    if not path.is_file() or _parsed(path) != json.loads(json.dumps(described)):
        write_json(path, described)


def open_run(out: Path) -> Context:
    """The run that a folder holds."""
    path = out / RUN
    if not path.is_file():
        raise UserError(
            f"{out}: no run here ({RUN} is missing); start one with `semples run RECIPE --data DIR --out {out}`"
        )
    stored = _parsed(path)
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
