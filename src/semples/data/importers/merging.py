"""Entries of annotations joined with the photos that are there; every photo and every entry is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from semples.data.importers.annotations import Entry, MaskFile, Thing
from semples.data.names import Match, PhotoFinder, without_clashes
from semples.data.problem import Problem


@dataclass
class Photo:
    """A photo that annotations name: its path below the photos' folder, where it was told of, and its things.

    `assumed`: nothing is annotated, and the user says that nothing is there.
    """

    path: str
    where: str
    size: tuple[int, int] | None = None
    things: list[Thing] = field(default_factory=list)
    mask: MaskFile | None = None
    assumed: bool = False

    @property
    def tags(self) -> list[str]:
        """The classes of its things, each once."""
        return list(dict.fromkeys(thing.name for thing in self.things))


@dataclass(frozen=True)
class Merged:
    """Photos with annotations, photos set aside with the reason, photos that no entry names; each photo in just one.

    `missing` counts entries that name no photo. `problems` name these and what is set aside.
    """

    photos: tuple[Photo, ...]
    set_aside: dict[str, str]
    unlabelled: tuple[str, ...]
    missing: int
    problems: tuple[Problem, ...]


def merge(entries: Sequence[Entry], paths: Sequence[str], *, background: bool) -> Merged:
    """Give each photo the things of all its entries. `background`: photos that no entry names show nothing."""
    finder = PhotoFinder(paths)
    matches = without_clashes([_match(entry, finder) for entry in entries])
    photos: dict[str, Photo] = {}
    set_aside: dict[str, str] = {}
    problems: list[Problem] = []
    missing = 0
    for entry, match in zip(entries, matches, strict=True):
        if match.path is None:
            if len(match.several) == 1:
                what = f"{entry.photo[:120]}: names of other folders mean {match.several[0]} too; import each by itself"
                set_aside[match.several[0]] = f"several names may mean it ({entry.where})"
            else:
                what = match.why_not(entry.photo) + (f"; {entry.fault}" if entry.fault else "")
            problems.append(Problem(entry.where, what))
            missing += 1
        elif entry.fault:
            problems.append(Problem(entry.where, f"{match.path}: set aside; {entry.fault}"))
            set_aside[match.path] = entry.fault
        else:
            photo = photos.setdefault(match.path, Photo(match.path, entry.where, entry.size))
            photo.things += entry.things
            photo.mask = photo.mask or entry.mask
    kept = [photo for path, photo in photos.items() if path not in set_aside]
    rest = [path for path in paths if path not in photos and path not in set_aside]
    if background:
        kept += [Photo(path, "not annotated", assumed=True) for path in rest]
        rest = []
    return Merged(tuple(kept), set_aside, tuple(rest), missing, tuple(problems))


def _match(entry: Entry, finder: PhotoFinder) -> Match:
    """The photo an entry means: by the name it tells, else by others."""
    first = finder.match(entry.photo)
    if first.path is not None and not first.cut:
        return first
    others = [finder.match(name) for name in entry.also]
    whole = next((match for match in others if match.path is not None and not match.cut), None)
    if whole is not None and first.path in (None, whole.path):
        return whole
    if first.path is not None:
        return first
    return next((match for match in others if match.path is not None), first)
