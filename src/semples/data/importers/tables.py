"""Tables: CSV with a row for each thing or photo, or a tags file of any form; also one for each part."""

from __future__ import annotations

import re
from pathlib import Path

from semples.core.errors import UserError
from semples.data.importers.annotations import NAMES, Annotations, Entry, Thing, clean, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.foreign import foreign_json
from semples.data.importers.layout import is_layout
from semples.data.names import PhotoFinder, is_photo_name
from semples.data.problem import Problem
from semples.data.tagfile import TagTable, read_table

SUFFIXES = (".csv", ".tsv")


class Tables(Importer):
    """Tables of tags, read as `semples data check` reads them."""

    about = "CSV, TSV and JSON tables of tags, a row a photo or a thing (Open Images, Roboflow's _classes.csv)"

    def recognises(self, source: Source) -> bool:
        if source.path.is_file():
            if source.path.suffix.casefold() in (".txt", ""):
                return _reads(source.path)
            return is_table(source.path) and not any(foreign_json(tree) for _, tree in source.trees)
        return bool(_candidates(source))

    def read(self, source: Source) -> Annotations:
        if source.path.is_file():
            return entries_of(source, source.path, read_table(source.path), shared=True)
        chosen, problems = _chosen(source)
        read = [entries_of(source, path, table, shared=len(chosen) == 1) for path, table in chosen]
        classes = dict.fromkeys(name for one in read for name in one.classes)
        return Annotations(
            tuple(classes) if all(one.classes for one in read) else (),
            tuple(entry for one in read for entry in one.entries),
            (*problems, *(problem for one in read for problem in one.problems)),
            tuple(note for one in read for note in one.notes),
        )


def entries_of(source: Source, path: Path, table: TagTable, *, shared: bool) -> Annotations:
    """A table's rows as entries; `shared`: names are below the photos' folder rather than the table's alone."""
    base = source.base_of(path)
    told = source.told(path)

    def entry(where: str, photo: str, tags: tuple[str, ...], fault: str = "") -> Entry:
        place = where.replace(path.name, told, 1)
        names = tuple(map(clean, tags))
        things = tuple(Thing(name, whole=True) for name in names if name)
        fault = fault or ("" if all(names) else "a tag of it is no name")
        return Entry(
            place, photo if shared else base + photo, things, also=(base + photo if shared else photo,), fault=fault
        )

    entries = [entry(row.where, row.photo, row.tags) for row in table.rows]
    entries += [entry(told, photo, (), "its row says nothing usable") for photo in table.lost]
    problems = tuple(Problem(problem.where.replace(path.name, told, 1), problem.what) for problem in table.problems)
    return Annotations(tuple(map(clean, table.columns)), tuple(entries), problems, tuple(n.what for n in table.notes))


def is_table(path: Path) -> bool:
    """Whether a file may be a table of tags by its name."""
    return path.suffix.casefold() in (*SUFFIXES, ".json", ".jsonl", ".ndjson")


def _reads(path: Path) -> bool:
    """Whether a file whose name says nothing is a table of photos: Excel's Unicode text ends in .txt."""
    try:
        table = read_table(path)
    except UserError:
        return False
    return any(is_photo_name(row.photo) for row in table.rows)


def _candidates(source: Source) -> list[Path]:
    tables = [path for path in source.with_suffix(*SUFFIXES) if path.name != NAMES]  # that one holds no tags
    return tables or [
        path for path in source.with_suffix(".json") if re.fullmatch(r"(tags|labels)", path.stem.casefold())
    ]


def _chosen(source: Source) -> tuple[list[tuple[Path, TagTable]], list[Problem]]:
    """The tables in a folder that name photos of it: one, or one for each part. Raises UserError."""
    usable: list[tuple[Path, TagTable]] = []
    problems: list[Problem] = []
    unfit: list[str] = []
    finder = PhotoFinder(source.photos)
    candidates = _candidates(source)
    for path in candidates:
        try:
            table = read_table(path)
        except UserError as error:
            if len(candidates) == 1:
                raise
            problems.append(Problem(source.told(path), f"not read: {str(error).removeprefix(f'{path}: ')}"))
            continue
        base = source.base_of(path)
        names = [form for row in table.rows for form in {row.photo, base + row.photo}]
        if any(match.path is not None for match in map(finder.match, names)) or len(candidates) == 1:
            usable.append((path, table))
        else:
            unfit.append(source.told(path))
    if not usable:
        first = f"; the first: {problems[0].where}: {problems[0].what}" if problems else ""
        raise UserError(
            f"{source.path}: none of its {len(candidates)} tables names photos of {source.photo_root}{first}"
        )
    if unfit:
        problems.append(Problem(source.root.name, f"{len(unfit)} tables name no photo here: {some(unfit)}"))
    alike = len({path.name for path, _ in usable}) == 1 or all(_is_part(path) for path, _ in usable)
    if len(usable) > 1 and not alike:
        listed = ", ".join(source.told(path) for path, _ in usable[:5])
        raise UserError(f"{source.path}: several tables ({listed}); name one of them")
    return usable, problems


def _is_part(path: Path) -> bool:
    """Whether a table is called after a part: train.csv, val_labels.csv, test-tags.csv."""
    return any(is_layout(word) for word in re.split(r"[_ -]", path.stem)[:1])
