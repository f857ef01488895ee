"""Label maps that a person has corrected: they take the place of those that are made; no step ever removes them.

    corrections/index.json        each photo's correction: its file, SHA-256, that of the photo, the classes, when, from
                                  where; corrections that others took the place of
    corrections/index.copy.json   the same, read where the index is lost or damaged
    corrections/maps/SHA.png      the label maps by their content (`run.content_maps`); none is ever written over

A correction counts as long as its photo is the one that was corrected, by its content. Who writes holds the run's lock.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_json, sha256_file, write_json
from semples.core.palette import label_png, read_label_png
from semples.data.dataset import IGNORE, TaggedDataset
from semples.run.content_maps import ContentMaps
from semples.run.context import Context
from semples.run.photos import SEEN, Digests

FOLDER, INDEX, COPY, MAPS = "corrections", "index.json", "index.copy.json", "maps"
FORMAT = 1


@dataclass(frozen=True)
class Correction:
    """One corrected label map.

    sha256: of its PNG. photo: SHA-256 of the photo's file. classes: names of labels 1, 2, ... when: local time.
    source: the file or page that it came from. wrong, doubt: what the map that it replaced was worth: share of the
    known pixels that were labelled wrong, and 1 minus their mean confidence; None where there was none.
    """

    sha256: str
    photo: str
    classes: tuple[str, ...]
    when: str
    source: str
    wrong: float | None = None
    doubt: float | None = None


@dataclass
class Corrections:
    """What the folder of corrections holds, by photo id.

    now: those that count. before: those that others took the place of, or that were taken back, oldest first. is_whole:
    neither the index nor its copy is lost or damaged.
    """

    folder: Path
    now: dict[str, Correction] = field(default_factory=dict)
    before: dict[str, list[Correction]] = field(default_factory=dict)
    is_whole: bool = True

    @classmethod
    def of(cls, out: Path) -> Corrections:
        """The corrections of a run's folder, none where there are none. Raises UserError for a damaged index."""
        folder = out / FOLDER
        paths = [folder / INDEX, folder / COPY]
        trees = [_whole_index(path) for path in paths]
        stored = next((tree for tree in trees if tree is not None), None)
        if stored is None:
            there = [path for path in paths if path.exists()]
            if not there and not ContentMaps(folder / MAPS):
                return cls(folder)
            what = f"{there[0]}: damaged" if there else f"{paths[0]}: missing"
            raise UserError(f"{what}, and there is no copy; put back the file as it was, the maps lie in {MAPS}/")
        try:
            now = {str(id): _correction(entry) for id, entry in stored["photos"].items()}
            before = {str(id): [_correction(entry) for entry in entries] for id, entries in stored["before"].items()}
        except (LookupError, TypeError, AttributeError, ValueError):
            raise UserError(f"{paths[0]}: of no use; put back the file as it was, the maps lie in {MAPS}/") from None
        return cls(folder, now, before, is_whole=trees[0] == trees[1])

    def put(
        self,
        id: str,
        labels: NDArray[np.uint8],
        *,
        photo: Path,
        classes: tuple[str, ...],
        source: str,
        made: tuple[NDArray[np.uint8], NDArray[np.float32]] | None = None,
    ) -> None:
        """A photo's correction, labels uint8 (H,W); `save` makes it count. made: the labels and confidences (H,W) that
        it takes the place of."""
        of = sha256_file(photo)
        if not (self.folder / INDEX).is_file():
            self.save()  # maps without an index would mean that it is lost
        digest = self.maps.keep(label_png(labels))
        last = self.now.get(id)
        if last is not None and (last.sha256, last.photo, last.classes) == (digest, of, classes):
            return
        self._retire(id)
        when, worth = time.strftime("%Y-%m-%dT%H:%M:%S%z"), (None, None) if made is None else _worth(labels, *made)
        self.now[id] = Correction(digest, of, classes, when, source, *worth)

    def take_back(self, id: str) -> None:
        """Let a photo's correction count no more; its map stays in the folder."""
        self._retire(id)

    def _retire(self, id: str) -> None:
        last = self.now.pop(id, None)
        if last is not None:
            self.before.setdefault(id, []).append(last)

    def save(self) -> None:
        """Write the index. The caller holds the run's lock."""
        described = {
            "format": FORMAT,
            "photos": {id: asdict(entry) for id, entry in sorted(self.now.items())},
            "before": {id: [asdict(entry) for entry in entries] for id, entries in sorted(self.before.items())},
        }
        described["check"] = _check(described)
        write_json(self.folder / INDEX, described)
        write_json(self.folder / COPY, described)
        self.is_whole = True

    @cached_property
    def maps(self) -> ContentMaps:
        """The label maps."""
        return ContentMaps(self.folder / MAPS)


def _whole_index(path: Path) -> dict[str, Any] | None:
    """What an index, or its copy, says; None where it is lost or damaged. Raises UserError for another version's."""
    try:
        stored = read_json(path)
    except (OSError, UserError):
        return None
    if not isinstance(stored, dict) or "format" not in stored:
        return None
    if stored["format"] != FORMAT:
        raise UserError(f"{path}: of another version of this program")
    return stored if stored.get("check") in (None, _check(stored)) else None


def _check(described: Mapping[str, Any]) -> str:
    """What tells an index that was damaged from a whole one."""
    rest = {key: value for key, value in described.items() if key != "check"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _correction(entry: Mapping[str, Any]) -> Correction:
    classes = tuple(map(str, entry["classes"]))
    sha256, photo, when, source = (str(entry[key]) for key in ("sha256", "photo", "when", "source"))
    worth = (None if entry.get(key) is None else float(entry[key]) for key in ("wrong", "doubt"))
    return Correction(sha256, photo, classes, when, source, *worth)


def _worth(
    labels: NDArray[np.uint8], made: NDArray[np.uint8], confidence: NDArray[np.float32]
) -> tuple[float | None, float | None]:
    known = labels != IGNORE
    if made.shape != labels.shape or not known.any():
        return None, None
    return round(float((made != labels)[known].mean()), 6), round(float(1 - confidence[known].mean()), 6)


@dataclass(frozen=True)
class Corrected(Mapping[str, NDArray[np.uint8]]):
    """Label maps of a run's corrected photos by id, uint8 (H,W) in the run's class list; read when they are asked for.

    entries: the corrections that count. problems: a line each of those that do not, and why.
    """

    corrections: Corrections
    entries: Mapping[str, Correction]
    names: tuple[str, ...]
    problems: tuple[str, ...]

    def __getitem__(self, id: str) -> NDArray[np.uint8]:
        entry = self.entries[id]
        labels = read_label_png(self.corrections.maps.path(entry.sha256))
        table = np.full(256, IGNORE, np.uint8)
        table[0] = 0
        for label, name in enumerate(entry.classes, start=1):
            if name in self.names:  # one that the map does not show may be gone
                table[label] = self.names.index(name) + 1
        return table[labels]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def digest(self) -> str:
        """What identifies all of them."""
        told = [[id, entry.sha256, entry.classes] for id, entry in sorted(self.entries.items())]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest() if told else "none"


def corrected(context: Context, dataset: TaggedDataset | None = None) -> Corrected:
    """The corrections of a run that count now, for the photos of `dataset` (default: the run's usable ones)."""
    stored = Corrections.of(context.out)
    if not stored.now:
        return Corrected(stored, {}, (), ())
    chosen = context.dataset if dataset is None else dataset
    names, items = chosen.classes.names, {item.id: item for item in chosen.items}
    digests = Digests(context.out / SEEN, save=False)
    entries, problems = {}, []
    for id, entry in stored.now.items():
        why = ""
        if id not in items:
            why = "no such photo in this run"
        elif digests.of(items[id].photo) != entry.photo:
            why = "the photo is another one than was corrected"
        elif not stored.maps.has(entry.sha256):
            why = f"its map {entry.sha256[:12]}... is missing or damaged"
        elif _lost(stored, entry, names):
            why = f"it shows {_lost(stored, entry, names)!r}, which is no class any more"
        if why:
            problems.append(f"correction of {id} is not used: {why}")
        else:
            entries[id] = entry
    return Corrected(stored, entries, names, tuple(problems))


def corrections_fact(context: Context) -> str:
    """Which photos are corrected, and how."""
    return corrected(context).digest


def _lost(stored: Corrections, entry: Correction, names: tuple[str, ...]) -> str:
    """A class that the map shows and that the run has no more; empty for none."""
    gone = {label: name for label, name in enumerate(entry.classes, start=1) if name not in names}
    if not gone:
        return ""
    shown = np.unique(read_label_png(stored.maps.path(entry.sha256)))
    return next((name for label, name in gone.items() if label in shown), "")
