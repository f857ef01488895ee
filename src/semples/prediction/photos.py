"""Which photos are predicted, what they are called in the outputs, and which tags are known of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semples.core.cells import SUFFIXES
from semples.core.errors import UserError
from semples.core.plain import is_utf8
from semples.data.columnar.photos import photos_in
from semples.data.columnar.sources import holds_columns
from semples.data.dataset import Problem
from semples.data.hub import local_source
from semples.data.listing import find_files, not_utf8
from semples.data.names import PhotoFinder, unique_ids
from semples.data.tagfile import read_table, split_tags
from semples.data.tagjoin import join

MAGIC = frozenset("*?[")
TAG_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")


@dataclass(frozen=True)
class Photo:
    """A photo to predict: `id` names its outputs (posix style, no extension), `name` is its path in the tables."""

    id: str
    name: str
    path: Path


def find_photos(
    sources: Iterable[Path | str], *, outside: Path | None = None, refused: list[Problem] | None = None
) -> list[Photo]:
    """The photos that files, folders and patterns (`*`, `?`, `[...]`, `**`) name, each once, in the order given.

    Of a folder every file below it that is called like a photo, without masks and hidden files; a file named by itself
    is taken as it is. Of a Parquet file, a folder of them alone, or a dataset of the hub (`data.hub`) every photo in
    it. Files in the folder `outside` (an earlier output) are left out, and those whose names are not UTF-8, which are
    added to `refused`. Photos are named by their path below their folder; where two would share a name, all by their
    path below the folder that holds them all.

    Raises UserError for a name that stands for nothing, and where no photo is left.
    """
    chosen: dict[Path, str] = {}
    odd: list[Problem] = [] if refused is None else refused
    for source in sources:
        for path, name in _expand(local_source(source), odd):
            if not is_utf8(name):
                odd.append(not_utf8(name))
                continue
            whole = Path(os.path.abspath(path))
            if outside is None or not whole.is_relative_to(Path(os.path.abspath(outside))):
                chosen.setdefault(whole, name)
    if not chosen and odd:
        raise UserError(f"no photo to predict; {odd[0].where}: {odd[0].what}")
    if not chosen:
        raise UserError("no photo to predict; name photos, folders or patterns such as 'photos/*.jpg'")
    names = list(chosen.values())
    if len(set(names)) < len(names):
        chosen = _names_below(chosen)
    ids = unique_ids(chosen.values())
    return [Photo(ids[name], name, path) for path, name in chosen.items()]


def _names_below(paths: Iterable[Path]) -> dict[Path, str]:
    """The names of whole paths below the folder that holds them all; of several drives, with the drive as a folder."""
    whole = list(paths)
    drives = {path.drive for path in whole}
    if len(drives) > 1:
        return {path: f"{path.drive.strip(':')}/{path.relative_to(path.anchor).as_posix()}" for path in whole}
    top = os.path.commonpath([path.parent for path in whole])
    return {path: path.relative_to(top).as_posix() for path in whole}


def _expand(source: Path, refused: list[Problem]) -> list[tuple[Path, str]]:
    """(path, name below its folder) of the photos that one word of the command line names."""
    if source.is_dir():
        before = len(refused)
        names = find_files(source, refused=refused)
        if not names and holds_columns(source):
            return photos_in(source)
        if not names and len(refused) == before:
            raise UserError(f"{source}: no photo in this folder")
        return [(source / name, name) for name in names]
    if source.exists() or not MAGIC & set(str(source)):
        if not source.exists():
            raise UserError(f"{source}: no such file or folder")
        if source.suffix.casefold() in SUFFIXES:
            return photos_in(source)
        return [(source, source.name)]
    matches = sorted(glob.glob(str(source), recursive=True))
    if not matches:
        raise UserError(f"{source}: no file matches this pattern")
    parts = source.parts
    fixed = Path(*parts[: next(index for index, part in enumerate(parts) if MAGIC & set(part))])
    files = [Path(match) for match in matches if Path(match).is_file()]
    return [(file, file.relative_to(fixed).as_posix()) for file in files]


# ------------------------------------------------------------------------------------------------------------- tags

Tags = tuple[int, ...] | None  # 0-based classes that a photo shows; None: nothing is known


@dataclass(frozen=True)
class KnownTags:
    """The tags of every photo by id, and what is wrong with the photos that have none."""

    by_id: dict[str, Tags]
    problems: dict[str, Problem]


def known_tags(source: str | Path | Sequence[str] | None, photos: Sequence[Photo], names: Sequence[str]) -> KnownTags:
    """What `source` says of the photos: None, words for all (`dog, cat` or a list), or a tags file with a row for each.

    Raises UserError for a word that is no class. A photo without a row, or with a wrong one, is a problem of its own.
    """
    if source is None:
        return KnownTags({photo.id: None for photo in photos}, {})
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_file() or path.suffix.casefold() in TAG_SUFFIXES:
            return _tags_of_file(path, photos, names)
        source = split_tags(str(source))
    unknown = [word for word in source if word not in names]
    if unknown or not source:
        said = f"{unknown[0]!r} is not a class of this model" if unknown else "no tag is named"
        raise UserError(f"--tags: {said}; its classes are {_listed(names)}; or give a tags file")
    tags = tuple(sorted({names.index(word) for word in source}))
    return KnownTags({photo.id: tags for photo in photos}, {})


def _tags_of_file(path: Path, photos: Sequence[Photo], names: Sequence[str]) -> KnownTags:
    table = read_table(path)
    rows = join(table, PhotoFinder(photo.name for photo in photos)).tags
    by_id: dict[str, Tags] = {}
    problems = {}
    for photo in photos:
        if photo.name not in rows:
            problems[photo.id] = Problem(str(photo.path), f"no row in {path.name}; write its tags there")
            continue
        where, tags = rows[photo.name]
        unknown = [tag for tag in tags if tag not in names]
        if unknown:
            what = f"tag {unknown[0][:60]!r} ({where}) is not a class of this model; its classes are "
            problems[photo.id] = Problem(str(photo.path), what + _listed(names))
            continue
        by_id[photo.id] = tuple(sorted(names.index(tag) for tag in tags))
    if not by_id:
        raise UserError(f"{path}: names none of the photos; the first is called {photos[0].name}")
    return KnownTags(by_id, problems)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
