"""The data step: list the photos, decode each once, set aside what cannot be read, and write down what is used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import SpecialFile, read_json, sha256_file, write_json
from semples.core.progress import track
from semples.data.check import verify_photos
from semples.data.dataset import ClassList, FileDataset, Item, Problem, TaggedDataset, open_dataset
from semples.run.context import Context, Step

DATASET = "dataset.json"
SEEN = "seen.json"  # digests of files by size and time, so that an unchanged file is not read again


def step() -> Step:
    """List and check the photos."""
    return Step("data", "photos and tags", (), _inputs, _run)


def _inputs(context: Context) -> dict[str, Any]:
    """Content of every photo, and the tags; masks apart, since only scores depend on them."""
    dataset = context.listing
    digest = _Digests(context.out / SEEN, save=context.is_main)
    photos = [
        [item.id, item.tags, digest.of(item.photo)] for item in track(dataset.items, label="looking for changed photos")
    ]
    digest.close()
    return {
        "classes": dataset.classes.names,
        "prompts": dataset.classes.prompts,
        "photos": hashlib.sha256(json.dumps(photos).encode()).hexdigest(),
        "max_megapixels": context.recipe.data.max_megapixels,
        "split": context.recipe.data.split,
    }


def mask_inputs(context: Context) -> dict[str, Any]:
    """Content of the masks, for the steps that score."""
    digest = _Digests(context.out / SEEN, save=context.is_main)
    masks = [[item.id, digest.of(item.mask)] for item in context.scored_dataset.items if item.mask is not None]
    digest.close()
    return {"masks": hashlib.sha256(json.dumps(masks).encode()).hexdigest()}


def listed(context: Context) -> TaggedDataset:
    """The dataset as the folder holds it now."""
    source, settings = context.source, context.recipe.data
    return open_dataset(
        source.root,
        split=settings.split or None,
        tags=source.tags,
        classes=source.classes,
        max_megapixels=settings.max_megapixels,
    )


def _run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    if not context.is_main:
        return {}
    dataset = context.listing
    verified = verify_photos(dataset, workers=max(1, context.recipe.data.workers))
    problems = (*dataset.problems, *verified.problems)
    if not verified.kept:
        raise UserError(f"{dataset.root}: no photo can be read; the first: {problems[0].where}: {problems[0].what}")
    write_json(
        folder / DATASET,
        {
            "name": dataset.name,
            "root": str(dataset.root.resolve()),
            "source": str(context.source.root.resolve()),
            "classes": dataset.classes.names,
            "prompts": dataset.classes.prompts,
            "items": [
                {
                    "id": item.id,
                    "photo": str(item.photo.resolve()),
                    "tags": item.tags,
                    "mask": None if item.mask is None else str(item.mask.resolve()),
                    "size": verified.sizes[item.id],
                }
                for item in verified.kept
            ],
            "problems": [{"where": problem.where, "what": problem.what} for problem in problems],
        },
    )
    return {
        "photos": len(verified.kept),
        "classes": len(dataset.classes),
        "untagged": sum(not item.tags for item in verified.kept),
        "masks": sum(item.mask is not None for item in verified.kept),
        "set_aside": len(problems),
    }


def stored_dataset(folder: Path, *, max_megapixels: float) -> FileDataset:
    """The dataset that a data step wrote."""
    stored = _stored(folder)
    return FileDataset(
        name=stored["name"],
        root=Path(stored["root"]),
        classes=ClassList(tuple(stored["classes"]), tuple(stored["prompts"])),
        items=tuple(
            Item(
                id=entry["id"],
                photo=Path(entry["photo"]),
                tags=tuple(entry["tags"]),
                mask=None if entry["mask"] is None else Path(entry["mask"]),
            )
            for entry in stored["items"]
        ),
        problems=tuple(Problem(**entry) for entry in stored["problems"]),
        max_megapixels=max_megapixels,
    )


def relocated(context: Context, stored: FileDataset) -> FileDataset:
    """`stored` with its photos where the run now looks for them: their folder may move between two calls."""
    if _stored(context.folder("data"))["source"] == str(context.source.root.resolve()):
        return stored
    now = {item.id: item for item in context.listing.items}
    lost = [item.id for item in stored.items if item.id not in now]
    if lost:
        raise UserError(f"{context.source.root}: the photo {lost[0]} of this run is not here; see --data")
    return replace(stored, root=context.listing.root, items=tuple(now[item.id] for item in stored.items))


def photo_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """(width, height) of every usable photo, by id."""
    return {entry["id"]: tuple(entry["size"]) for entry in _stored(folder)["items"]}


def _stored(folder: Path) -> dict[str, Any]:
    stored: dict[str, Any] = read_json(folder / DATASET)
    return stored


class _Digests:
    """SHA-256 of files, remembered by path, size and time of change."""

    def __init__(self, path: Path, *, save: bool) -> None:
        self._path, self._save = path, save
        try:
            self._known: dict[str, list[Any]] = read_json(path) if path.is_file() else {}
        except UserError:
            self._known = {}
        self._changed = False

    def of(self, path: Path) -> str:
        """Digest of the file, or the reason why it cannot be read."""
        try:
            stat = path.stat()
            key, mark = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
            known = self._known.get(key)
            if known is not None and known[:2] == mark:
                return str(known[2])
            digest = sha256_file(path)
        except OSError as error:
            return f"unreadable: {error.strerror}"
        except SpecialFile:
            return "unreadable: not a file"
        self._known[key] = [*mark, digest]
        self._changed = True
        return digest

    def close(self) -> None:
        if self._changed and self._save:
            write_json(self._path, self._known)
