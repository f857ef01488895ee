"""Google AutoML and Vertex AI: CSV without a first line, `[SET,]address,label,...`, with a box or without."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from semples.data.importers.annotations import Annotations, Entry, Thing, clean
from semples.data.importers.base import Importer, Source
from semples.data.names import is_photo_name, told_parts
from semples.data.problem import Problem
from semples.data.text import read_text

SETS = ("train", "training", "validate", "validation", "test", "unassigned")


class AutoMl(Importer):
    """AutoML's CSV: every cell that is no set, address or number is a label; a photo without one is not annotated."""

    about = "Google AutoML's and Vertex AI's CSV"

    def recognises(self, source: Source) -> bool:
        return any(_is_automl(path) for path in source.with_suffix(".csv"))

    def read(self, source: Source) -> Annotations:
        entries: list[Entry] = []
        problems: list[Problem] = []
        for path in source.with_suffix(".csv"):
            if not _is_automl(path):
                continue
            for number, row in enumerate(csv.reader(read_text(path).splitlines(), skipinitialspace=True), start=1):
                where = f"{source.told(path)}, line {number}"
                cells = [cell.strip() for cell in row]
                if cells and cells[0].casefold() in SETS:
                    cells = cells[1:]
                if not any(cells):
                    continue
                if not is_photo_name(cells[0]):
                    problems.append(Problem(where, "no photo is named"))
                    continue
                names = [clean(cell) for cell in cells[1:] if cell and not re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", cell)]
                photo = "/".join(told_parts(cells[0]))
                fault = "" if names else "it has no label yet"
                entries.append(Entry(where, photo, tuple(Thing(name) for name in names), fault=fault))
        labelled = {entry.photo for entry in entries if not entry.fault}
        kept = [entry for entry in entries if not entry.fault or entry.photo not in labelled]
        return Annotations((), tuple(kept), tuple(problems))


def _is_automl(path: Path) -> bool:
    """Whether the first line has an address of Google's storage, or a set before a photo."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            cells = next(csv.reader([file.readline()]), [])
    except (OSError, csv.Error):
        return False
    cells = [cell.strip() for cell in cells]
    told = bool(cells) and cells[0].casefold() in SETS and len(cells) > 1
    return is_photo_name(cells[1]) if told else bool(cells) and cells[0].startswith("gs://")
