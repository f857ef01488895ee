"""What is finished in the folder of every step, and what it was made from.

STEP/started.json          the step has begun; with all that it has read so far, and in the end its manifest once more
STEP/manifest.json         the step is done: all that it has read, and its figures
STEP/outputs.txt           every file it has made: SHA-256, bytes, path; the manifest has its digest
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import is_unfinished, read_json, write_json
from semples.run import outputs

FORMAT = 2  # of run.json, started.json and manifest.json
MANIFEST = "manifest.json"
STARTED = "started.json"


def started_reads(folder: Path) -> dict[str, Any] | None:
    """All that an unfinished step in this folder has read so far; None where none has begun.

    Raises UserError for a folder that is neither empty nor made by this program.
    """
    left = [path for path in folder.iterdir() if not is_unfinished(path)] if folder.exists() else []
    started = folder / STARTED
    if started.is_file():
        stored = parsed(started)
        return dict(stored["reads"]) if stored and isinstance(stored.get("reads"), dict) else None
    if left and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder}: not empty and not made by this program; choose another --out")
    return None


def note_reads(folder: Path, reads: dict[str, Any]) -> None:
    """Write down what the step at work in this folder has read so far."""
    write_json(folder / STARTED, {"format": FORMAT, "reads": reads})


def empty(folder: Path, *, keep: str = "") -> None:
    """Remove all that a step left, but `keep`. It may be cut at any moment: the folder is never taken for a finished or
    resumable one then."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STARTED, {"format": FORMAT, "reads": None})
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name == keep:
            continue
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
    manifest = parsed(path) if path.is_file() else None
    if manifest is None or manifest.get("check") != _check(manifest):
        copy = parsed(folder / STARTED) if (folder / STARTED).is_file() else None
        manifest = None if copy is None else copy.get("manifest")
        if not isinstance(manifest, dict) or manifest.get("check") != _check(manifest):
            return None
    return manifest


def heal_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest or its copy again where it is not whole."""
    whole = {"format": FORMAT, "reads": manifest["reads"], "manifest": manifest}
    for path, value in ((folder / STARTED, whole), (folder / MANIFEST, manifest)):
        if not path.is_file() or parsed(path) != value:
            write_json(path, value)


def result_of(folder: Path) -> dict[str, Any]:
    """The figures of a finished step; empty where it is not finished."""
    manifest = read_manifest(folder)
    return {} if manifest is None else dict(manifest["result"])


def read_output(folder: Path, name: str) -> Any:
    """What a JSON file of a finished step says, for those who look at a run from outside.

    Raises UserError where it is missing or no longer as it was made.
    """
    manifest = read_manifest(folder)
    if manifest is not None and not outputs.is_as_made(folder, manifest["outputs"], name):
        raise UserError(f"{folder / name}: missing or damaged; the command that made this run makes it again")
    return read_json(folder / name)


def parsed(path: Path) -> dict[str, Any] | None:
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
