"""The photos of a run: listed as their folder holds them, stored as the data step found them, known by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import SpecialFile, read_json, read_object, sha256_file, write_json
from semples.core.members import resolved, size_and_time
from semples.core.progress import track
from semples.core.ranks import Ranks
from semples.data.dataset import ClassList, FileDataset, Item, Problem, TaggedDataset, open_dataset, with_items
from semples.data.listfile import given_list
from semples.data.listing import stamp as folder_stamp
from semples.data.verify import Verified
from semples.recipe import DataSettings

DATASET = "dataset.json"
UNREADABLE = "unreadable"
DIGITS = 64  # of a SHA-256
AT_A_GLANCE = "seen-folder.json"  # the digest of all photos while nothing changes that `_stamp` looks at
SEEN = "seen.json"  # digests of files by size and time, so that an unchanged file is not read again


@dataclass(frozen=True)
class Source:
    """Where the tagged photos are; `tags` and `classes` name files that replace those in the folder."""

    root: Path
    tags: Path | None = None
    classes: Path | None = None


def listed(source: Source, settings: DataSettings) -> TaggedDataset:
    """The dataset as the folder holds it now."""
    return open_dataset(
        source.root,
        split=settings.split or None,
        tags=source.tags,
        classes=source.classes,
        max_megapixels=settings.max_megapixels,
        bits=settings.bits,
        column=settings.column,
    )


def with_masks(dataset: TaggedDataset, listing: TaggedDataset) -> TaggedDataset:
    """`dataset` with the masks that `listing` has for its photos."""
    masks = {item.id: item.mask for item in listing.items}
    return with_items(listing, (replace(item, mask=masks.get(item.id)) for item in dataset.items))


def digest_at_a_glance(
    source: Source, settings: DataSettings, seen: Path, *, listing: Callable[[], TaggedDataset], save: bool
) -> str:
    """`photos_digest` of the listing; without listing anything where all files are of the names, sizes and times that
    they had when it was last computed. seen: the folder of the run."""
    path, stamp = seen / AT_A_GLANCE, _stamp(source, settings)
    before = read_object(path)
    if stamp is not None and before.get("stamp") == stamp and isinstance(before.get("photos"), str):
        return str(before["photos"])
    digest, readable = _photos_digest(listing(), seen / SEEN, save=save)
    if save and stamp is not None and readable:
        write_json(path, {"stamp": stamp, "photos": digest})
    return digest


def _stamp(source: Source, settings: DataSettings) -> str | None:
    """What the listing of a folder depends on: its files and those named beside it, settings, version; None where the
    photos are not in a folder."""
    if not source.root.is_dir():
        return None
    named = [source.tags, source.classes, given_list(settings.split)]
    marks = [[str(path), *size_and_time(path)] for path in named if path is not None and path.is_file()]
    chosen = [settings.split, settings.max_megapixels, settings.bits, settings.column]
    return _digest([__version__, str(source.root.resolve()), chosen, marks, folder_stamp(source.root)])


def photos_digest(dataset: TaggedDataset, seen: Path, *, save: bool) -> str:
    """What identifies photos, tags and classes: the content of every photo, wherever it lies. Masks are apart, since
    only scores depend on them."""
    return _photos_digest(dataset, seen, save=save)[0]


def _photos_digest(dataset: TaggedDataset, seen: Path, *, save: bool) -> tuple[str, bool]:
    """The digest, and whether every photo could be read."""
    known = Digests(seen, save=save)
    digests = [known.of(item.photo) for item in track(dataset.items, label="looking for changed photos")]
    known.close()
    photos = [
        [item.id, item.tags, digest, *([item.open] if item.open else [])]
        for item, digest in zip(dataset.items, digests, strict=True)
    ]
    readable = not any(digest.startswith(UNREADABLE) for digest in digests)
    return _digest([dataset.classes.names, dataset.classes.prompts, photos]), readable


def share_digests(dataset: TaggedDataset, seen: Path, *, ranks: Ranks) -> None:
    """Digest the photos that are not known yet, each by one of the processes, and write that down for all."""
    digests = Digests(seen, save=ranks.is_main)
    todo = ranks.of_main(lambda: [str(item.photo) for item in dataset.items if not digests.knows(item.photo)])
    mine = [digests.of(Path(path)) for path in track(ranks.share(todo), label="looking for changed photos")]
    for path, digest in zip(todo, ranks.together(mine), strict=True):
        digests.note(Path(path), digest)
    digests.close()
    ranks.wait()


def masks_digest(dataset: TaggedDataset, seen: Path, *, save: bool) -> str:
    """What identifies the masks of a dataset, by their content."""
    digests = Digests(seen, save=save)
    masks = [[item.id, digests.of(item.mask)] for item in dataset.items if item.mask is not None]
    digests.close()
    return _digest(masks)


def folder_digest(folder: Path, seen: Path, *, save: bool) -> str:
    """What identifies the files below a folder, by their content; "" where there is none."""
    if not folder.is_dir():
        return ""
    digests = Digests(seen, save=save)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    listed = [[path.relative_to(folder).as_posix(), digests.of(path)] for path in files]
    digests.close()
    return _digest(listed)


def store_dataset(folder: Path, dataset: TaggedDataset, verified: Verified, *, source: Source) -> tuple[Problem, ...]:
    """Write down the usable photos; returns every problem there was."""
    problems = (*dataset.problems, *verified.problems)
    write_json(
        folder / DATASET,
        {
            "name": dataset.name,
            "root": str(dataset.root.resolve()),
            "source": str(source.root.resolve()),
            "classes": dataset.classes.names,
            "prompts": dataset.classes.prompts,
            "items": [
                {
                    "id": item.id,
                    "photo": str(resolved(item.photo)),
                    "tags": item.tags,
                    "size": verified.sizes[item.id],
                }
                | ({"open": item.open} if item.open else {})
                for item in verified.kept
            ],
            "problems": [{"where": problem.where, "what": problem.what} for problem in problems],
        },
    )
    return problems


def stored_dataset(folder: Path, *, max_megapixels: float, bits: int = 0) -> FileDataset:
    """The dataset that a data step wrote; its photos have no masks."""
    with _of_its_shape(folder) as stored:
        return FileDataset(
            name=stored["name"],
            root=Path(stored["root"]),
            classes=ClassList(tuple(stored["classes"]), tuple(stored["prompts"])),
            items=tuple(
                Item(
                    id=entry["id"],
                    photo=Path(entry["photo"]),
                    tags=tuple(entry["tags"]),
                    open=tuple(entry.get("open", ())),
                )
                for entry in stored["items"]
            ),
            problems=tuple(Problem(**entry) for entry in stored["problems"]),
            max_megapixels=max_megapixels,
            bits=bits,
        )


def relocated(
    stored: FileDataset, folder: Path, source: Source, *, listing: Callable[[], TaggedDataset]
) -> FileDataset:
    """`stored` with its photos where the run now looks for them: their folder may move between two calls."""
    with _of_its_shape(folder) as written:
        if written["source"] == str(source.root.resolve()):
            return stored
    now = {item.id: item for item in listing().items}
    lost = [item.id for item in stored.items if item.id not in now]
    if lost:
        raise UserError(f"{source.root}: the photo {lost[0]} of this run is not here; see --data")
    return replace(stored, root=listing().root, items=tuple(replace(now[item.id], mask=None) for item in stored.items))


def differences(folder: Path, listing: TaggedDataset) -> str:
    """How the photos that a folder holds now differ from those that a data step wrote down: `2 added, 1 removed, 3 with
    other tags`; empty where neither names, tags nor classes tell."""
    if not (folder / DATASET).is_file():
        return ""
    with _of_its_shape(folder) as stored:
        before = {str(entry["id"]): (entry["tags"], entry.get("open", [])) for entry in stored["items"]}
        classes, unusable = tuple(stored["classes"]), {Path(entry["where"]).stem for entry in stored["problems"]}
    items = [item for item in listing.items if item.id in before or Path(item.id).name not in unusable]
    now = {item.id: ([*item.tags], [*item.open]) for item in items}
    told = {
        "added": len(now.keys() - before.keys()),
        "removed": len(before.keys() - now.keys()),
        "with other tags": sum(now[id] != tags for id, tags in before.items() if id in now),
    }
    if classes != listing.classes.names:
        return f"other classes: {', '.join(listing.classes.names[:5])}"
    return ", ".join(f"{count} {what}" for what, count in told.items() if count)


def has_other_classes(folder: Path, listing: TaggedDataset) -> bool:
    """Whether the photos' folder now names other classes than a data step wrote down."""
    if not (folder / DATASET).is_file():
        return False
    with _of_its_shape(folder) as stored:
        return tuple(stored["classes"]) != listing.classes.names


def photo_sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """(width, height) of every usable photo, by id."""
    with _of_its_shape(folder) as stored:
        return {entry["id"]: (int(entry["size"][0]), int(entry["size"][1])) for entry in stored["items"]}


@contextmanager
def _of_its_shape(folder: Path) -> Iterator[Any]:
    """What a data step wrote. Raises UserError where it is something else."""
    path = folder / DATASET
    stored = read_json(path)
    try:
        yield stored
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{path}: damaged; give the same command as when the run was started: it is made again"
        ) from None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class Digests:
    """SHA-256 of files, remembered by path, size and time of change."""

    def __init__(self, path: Path, *, save: bool) -> None:
        self._path, self._save = path, save
        rows = read_object(path).items()
        self._known = {name: row for name, row in rows if isinstance(row, list) and len(row) == 3}
        self._changed = False

    def of(self, path: Path) -> str:
        """Digest of the file, or the reason why it cannot be read."""
        try:
            key, mark = str(resolved(path)), list(size_and_time(path))
            known = self._known.get(key)
            if known is not None and known[:2] == mark:
                return str(known[2])
            digest = sha256_file(path)
        except OSError as error:
            return f"{UNREADABLE}: {error.strerror}"
        except SpecialFile:
            return f"{UNREADABLE}: not a file"
        self._known[key] = [*mark, digest]
        self._changed = True
        return digest

    def knows(self, path: Path) -> bool:
        """Whether the file need not be read."""
        try:
            mark = list(size_and_time(path))
        except OSError:
            return True
        known = self._known.get(str(resolved(path)))
        return known is not None and known[:2] == mark

    def note(self, path: Path, digest: str) -> None:
        """Remember what another process has read; nothing where it could not."""
        with suppress(OSError):
            if len(digest) == DIGITS:
                self._known[str(resolved(path))] = [*size_and_time(path), digest]
                self._changed = True

    def close(self) -> None:
        """Write what was learned down."""
        if self._changed and self._save:
            write_json(self._path, self._known)
