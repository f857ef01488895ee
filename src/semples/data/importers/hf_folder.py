"""Folders of Hugging Face `datasets`: metadata.jsonl or metadata.csv beside the photos, in each split or at the top."""

from __future__ import annotations

from pathlib import Path

from semples.core.errors import UserError
from semples.data.card import card, class_label_names
from semples.data.importers.annotations import Annotations, clean
from semples.data.importers.base import Importer, Source
from semples.data.importers.tables import entries_of
from semples.data.tagfile import read_table
from semples.data.text import read_text

FILES = ("metadata.jsonl", "metadata.csv")


class HfFolder(Importer):
    """Hugging Face's image folders: `file_name` and a label, labels or objects; numbers are named by README.md."""

    about = "Hugging Face datasets folders (metadata.jsonl)"

    def recognises(self, source: Source) -> bool:
        return any(path.name in FILES or path.suffix == ".jsonl" for path in source.files)

    def read(self, source: Source) -> Annotations:
        paths = [path for path in source.files if path.name in FILES] or source.with_suffix(".jsonl")
        names = _names(source.root)
        tables = [entries_of(source, path, read_table(path, names=names), shared=False) for path in paths]
        classes = tuple(names.values()) if names else ()
        entries = tuple(entry for one in tables for entry in one.entries)
        said = {thing.name for entry in entries for thing in entry.things}
        notes = [note for one in tables for note in one.notes]
        if not names and said and all(name.isdigit() for name in said):
            raise UserError(
                f"{paths[0]}: its labels are numbers, and no README.md names them (dataset_info, class_label); write "
                "classes.txt with `number,word` a line or the names into the table"
            )
        kept = tuple(name for name in classes if name) if said <= set(classes) else ()
        return Annotations(kept, entries, tuple(p for one in tables for p in one.problems), tuple(notes))


def _names(root: Path) -> dict[int, str] | None:
    """Class names by number: out of README.md's head, else out of classes.txt."""
    told = class_label_names(card(root))
    if told:
        return told
    listed = root / "classes.txt"
    if listed.is_file():
        names = [clean(line) for line in read_text(listed).splitlines() if clean(line)]
        return dict(enumerate(names)) or None
    return None
