"""What a folder of predictions says of itself: its model and settings, and which photos are done, a line each."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import append_to, check_regular, read_file, read_json, write_json, write_text
from semples.core.lock import LOCK
from semples.core.places import number, place_of
from semples.core.temporary import sweep
from semples.data.dataset import safe_relative
from semples.data.pictures import is_whole
from semples.prediction.model import Model
from semples.prediction.photos import Photo, Tags

LABELS, OVERLAYS, CONFIDENCE = "labels", "overlays", "confidence"
AREAS, CLASSES, MANIFEST, JOURNAL = "areas.csv", "classes.txt", "prediction.json", "photos.jsonl"

Areas = list[int]  # pixels of each label 0..K, then those of none where there may be such


def stamp_of(photo: Photo, tags: Tags) -> list[Any]:
    """What tells a photo from a later one of the same name, and the tags it was predicted with."""
    try:
        stat = photo.path.stat()
    except OSError:  # it is reported when it is decoded
        return [0, 0, None]
    return [stat.st_size, stat.st_mtime_ns, None if tags is None else list(tags)]


def _check(described: dict[str, Any]) -> str:
    """What tells a description of a folder, or a line of a journal, that was damaged from a whole one."""
    rest = {key: value for key, value in described.items() if key != "check"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _described_in(path: Path) -> dict[str, Any] | None:
    """What a folder of predictions says of itself; None where that is lost or damaged."""
    try:
        stored = read_json(path)
    except (OSError, UserError):
        return None
    is_whole = isinstance(stored, dict) and stored.get("check") in (None, _check(stored))
    return stored if is_whole else None


def _are_equal(one: str, other: str) -> bool:
    """Whether two files hold the same; a file that cannot be read equals none."""
    try:
        check_regular(one)
        check_regular(other)
        return filecmp.cmp(one, other, shallow=False)
    except (OSError, UserError):
        return False


def read_journal(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The photos of a folder of predictions that are done, the last line of each: id, name, path, stamp (size, time,
    tags), areas and overlay (its CRC-32); and how many lines are damaged, which are left out, as is a half line at the
    end of a file.

    Raises UserError where it cannot be read.
    """
    entries: dict[str, dict[str, Any]] = {}
    damaged = 0
    for path in (folder / JOURNAL, *_parts(folder)):
        text = _text(path)
        for line in text[: text.rfind("\n") + 1].splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            if _is_entry(entry):
                entries[entry["id"]] = entry
            else:
                damaged += 1
    return list(entries.values()), damaged


def _parts(folder: Path) -> list[Path]:
    """The journals of further processes, in a folder where a prediction by several was cut."""
    return sorted(folder.glob("photos.*.jsonl"))


def _text(path: Path) -> str:
    return read_file(path).decode("utf-8", errors="replace") if path.is_file() else ""


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return False
    areas, stamp = entry.get("areas"), entry.get("stamp")
    if not isinstance(areas, list) or not all(isinstance(count, int) for count in areas):
        return False
    if entry.get("check") not in (None, _check(entry)):
        return False
    inside = safe_relative(entry["id"]) is not None
    return inside and isinstance(stamp, list) and len(stamp) == 3 and isinstance(entry.get("path", ""), str)


class Journal:
    """The photos of the output folder that are done: a line each, written once its files are.

    Process 0 comes first and puts the folder in order; each further one has a file of its own until `join`.

    Raises UserError where the folder holds something else, or predictions of another model or other settings.
    """

    def __init__(self, out: Path, model: Model, *, rank: int = 0) -> None:
        self._out = out
        self._path = out / (f"photos.{rank}.jsonl" if rank else JOURNAL)
        self._labels = len(model.classes) + 1 + (model.settings.min_confidence > 0)
        self._folders = [(LABELS, ".png"), (OVERLAYS, ".jpg")]
        self._folders += [(CONFIDENCE, ".png")] if model.settings.confidence else []
        self._done: dict[str, dict[str, Any]] = {}
        if rank == 0:
            self._begin(model)
            self.join()
        self.read()

    def _begin(self, model: Model) -> None:
        described = {
            "semples": __version__,
            "model": model.identity,
            "settings": model.settings.what_counts(),
            "classes": list(model.classes),
        }
        described["check"] = _check(described)
        out, manifest = self._out, self._out / MANIFEST
        sweep(out)
        known = _described_in(manifest)
        if known is not None and known != json.loads(json.dumps(described)):
            raise UserError(f"{out}: holds predictions of another model or other settings; choose another --out")
        if known is None:
            self._forget(is_ours=os.path.lexists(manifest))
            write_json(manifest, described)
        write_text(out / CLASSES, "".join(f"{name}\n" for name in model.classes))

    def _forget(self, *, is_ours: bool) -> None:
        """Remove predictions of which nobody can tell how they were made: their description is lost or damaged.

        Raises UserError where there is something in the folder that is not known for predictions.
        """
        entries, _ = read_journal(self._out)
        there = self._out.is_dir() and any(path.name != LOCK for path in self._out.iterdir())
        if there and not entries and not is_ours:
            raise UserError(f"{self._out}: holds something else; choose another --out")
        for entry in entries:
            for folder, suffix in ((LABELS, ".png"), (OVERLAYS, ".jpg"), (CONFIDENCE, ".png")):
                place_of(self._out / folder, entry["id"], suffix).unlink(missing_ok=True)
        for path in (self._out / JOURNAL, *_parts(self._out)):
            path.unlink(missing_ok=True)

    def join(self) -> None:
        """One whole file of what all processes have noted, without damaged lines; nobody else may write meanwhile."""
        path, parts = self._out / JOURNAL, _parts(self._out)
        known, damaged = read_journal(self._out)
        text = _text(path)
        if parts or damaged or (text and not text.endswith("\n")):  # a killed program may leave half a line
            write_text(path, "".join(json.dumps(entry) + "\n" for entry in known))
        for part in parts:
            part.unlink()

    def read(self) -> None:
        """Know what is done by now; the photo of a damaged line is predicted anew."""
        known, _ = read_journal(self._out)
        self._done = {entry["id"]: entry for entry in known if len(entry["areas"]) == self._labels}

    def has(self, id: str, stamp: list[Any]) -> bool:
        """Whether the photo is done as it is now, and its files are there and whole."""
        entry = self._done.get(id)
        return entry is not None and entry["stamp"] == stamp and self._has_files(id)

    def _has_files(self, id: str) -> bool:
        files = [place_of(self._out / folder, id, suffix) for folder, suffix in self._folders]
        noted = self._done[id].get("overlay")  # a JPEG has no checksum of its own
        return all(map(is_whole, files)) and noted in (None, self._overlay(id))

    def _overlay(self, id: str) -> int:
        return zlib.crc32(read_file(place_of(self._out / OVERLAYS, id, ".jpg")))

    def number(self, photos: Sequence[Photo]) -> None:
        """Make ready for the files of these photos (`core.places.number`); to be called before anything is asked."""
        for folder, suffix in self._folders:
            number(self._out / folder, {*self._done, *(photo.id for photo in photos)}, suffix=suffix)

    def named(self, photos: Sequence[Photo]) -> list[Photo]:
        """The photos by the ids that earlier calls gave them; a new one whose id another photo has (`a.jpg` beside an
        `a.png` done before) gets its whole name."""
        by_path = {entry.get("path"): id for id, entry in self._done.items()}
        known = {photo.path: by_path.get(os.path.abspath(photo.path)) for photo in photos}
        taken = {id for id in known.values() if id is not None}
        answer = []
        for photo in photos:
            id = known[photo.path]
            if id is None:
                id = photo.id
                if id in taken or self._is_of_another_name(id, photo):
                    id = photo.name
                taken.add(id)
            answer.append(replace(photo, id=id))
        return answer

    def _is_of_another_name(self, id: str, photo: Photo) -> bool:
        """Whether the id stands for a photo that is still there and is called otherwise."""
        entry = self._done.get(id, {})
        return entry.get("name") not in (None, photo.name) and os.path.isfile(entry.get("path") or "")

    def check(self, photos: Sequence[Photo]) -> None:
        """Raises UserError where a result of an earlier call would give way to that of another photo of equal name."""
        for photo in photos:
            before, now = self._done.get(photo.id, {}).get("path"), os.path.abspath(photo.path)
            if before not in (None, now) and os.path.isfile(before) and not _are_equal(before, now):
                raise UserError(
                    f"{self._out}: holds the result of another photo called {photo.name}, {before}; "
                    f"choose another --out for {photo.path}"
                )

    def others(self, photos: Sequence[Photo]) -> list[tuple[str, str]]:
        """(id, name) of the photos beside `photos` that earlier calls have left results of, by name."""
        ids, names = {photo.id for photo in photos}, {None, *(photo.name for photo in photos)}
        strangers = [
            (id, str(entry["name"]))
            for id, entry in self._done.items()
            if id not in ids and entry.get("name") not in names and self._has_files(id)
        ]
        return sorted(strangers, key=lambda entry: entry[1])

    def areas(self, id: str) -> Areas:
        areas: Areas = self._done[id]["areas"]
        return areas

    def __enter__(self) -> Journal:
        self._open = append_to(self._path)
        self._file = self._open.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._open.__exit__(*about)

    def add(self, photo: Photo, stamp: list[Any], areas: Areas) -> None:
        """Note a photo whose files are written."""
        path = os.path.abspath(photo.path)
        entry: dict[str, Any] = {"id": photo.id, "name": photo.name, "path": path, "stamp": stamp, "areas": areas}
        entry["overlay"] = self._overlay(photo.id)
        entry["check"] = _check(entry)
        self._done[photo.id] = entry
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
