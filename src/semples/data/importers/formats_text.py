"""Annotations in text, XML and folders: YOLO, VOC XML, CSV, folders named by class."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

from semples.core.errors import UserError
from semples.core.files import read_file
from semples.core.safeyaml import load_yaml
from semples.data.dataset import Problem
from semples.data.importers.annotations import SPLITS, Annotations, Entry, Thing, clean
from semples.data.photos import PHOTO_SUFFIXES
from semples.data.tagfile import PHOTO_COLUMNS, read_table, split_tags
from semples.data.text import nfc, read_text

MAX_XML_BYTES = 10_000_000
IMAGE_COLUMNS = PHOTO_COLUMNS | {"imageid", "image_id", "image_name", "img_path", "filepath", "file_path"}
SURE_COLUMNS = {"confidence"}  # Open Images: 0 says that the class is known to be absent
CLASS_COLUMNS = ("class", "class_name", "classname", "label", "label_name", "labelname", "category", "category_name")


# -------------------------------------------------------------------------------------------------------------- YOLO


def read_yolo(root: Path, photos_root: Path, photos: Iterable[str]) -> Annotations:
    """YOLO's text files: a line `class x y width height` or `class x1 y1 x2 y2 ...`, in fractions of the photo."""
    classes = _yolo_classes(root)
    entries: list[Entry] = []
    problems: list[Problem] = []
    labelled = 0
    for photo in photos:
        path = next((path for path in _yolo_files(root, photos_root, photo) if path.is_file()), None)
        labelled += path is not None
        things = [] if path is None else list(_yolo_things(path, classes, problems))
        entries.append(Entry(photo, photo, tuple(things)))
    if not labelled:
        raise UserError(f"{root}: no photo has a text file of its own name (beside it, or in labels/)")
    return Annotations(classes, tuple(entries), tuple(problems))


def _yolo_files(root: Path, photos_root: Path, photo: str) -> Iterator[Path]:
    """Where the text file of a photo may be."""
    path = PurePosixPath(photo).with_suffix(".txt")
    parts = list((photos_root / path).parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
        yield Path(*parts)
    yield photos_root / path
    yield from (root / "labels" / path, root / "labels" / path.name, root / path, root / path.name)


def _yolo_classes(root: Path) -> tuple[str, ...]:
    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")], key=lambda path: path.name != "data.yaml"):
        tree = load_yaml(read_text(path), where=str(path))
        names = tree.get("names") if isinstance(tree, dict) else None
        if isinstance(names, dict) and set(names) == set(range(len(names))):
            names = [names[number] for number in range(len(names))]
        if isinstance(names, list) and names:
            return _distinct(path, names)
    for path in (
        root / "classes.txt",
        root / "obj.names",
        root / "labels" / "classes.txt",
        *sorted(root.glob("*.names")),
    ):
        if path.is_file():
            return _distinct(path, [line for line in read_text(path).splitlines() if line.strip()])
    raise UserError(f"{root}: no class names; add classes.txt with one name a line, in the order of the class numbers")


def _distinct(path: Path, names: Iterable[Any]) -> tuple[str, ...]:
    cleaned = tuple(map(clean, names))
    if not all(cleaned) or len(set(cleaned)) < len(cleaned):
        raise UserError(f"{path}: its class names must be different and not empty")
    return cleaned


def _yolo_things(path: Path, classes: tuple[str, ...], problems: list[Problem]) -> Iterator[Thing]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            values = []
        index = values[0] if values else -1.0
        if len(values) < 5 or not (0 <= index < len(classes) and index == int(index)):
            problems.append(
                Problem(
                    f"{path.name}, line {number}", f"not `class x y width height` with a class below {len(classes)}"
                )
            )
            continue
        polygon = values[1:] if len(values) >= 7 and len(values) % 2 else None
        yield Thing(classes[int(index)], None if polygon is None else [polygon], 1.0)


# ---------------------------------------------------------------------------------------------------------- VOC XML


def read_voc(files: Sequence[Path], *, masks: Path) -> Annotations:
    """VOC's XML files: the names of the objects; the photo is the one with the file's name, else the one it names.

    `masks`: a folder of VOC's masks, of which nothing tells the classes; it is named as not used.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    if masks.is_dir():
        what = "not taken over, since nothing tells which class a value is; with the values 1, 2, ... in the order of "
        problems.append(Problem(masks.name, what + "classes.txt they may be copied to masks/ beside it"))
    for path in files:
        try:
            photo, names = _voc_objects(path)
        except (expat.ExpatError, OSError, ValueError, LookupError) as error:
            problems.append(Problem(path.name, f"not readable: {error}"))
            continue
        told = PurePosixPath(photo.replace("\\", "/"))
        named = (told.name, path.stem) if told.stem == path.stem else (path.stem, told.name)  # renamed since
        entries.append(Entry(path.name, named[0], tuple(Thing(name) for name in names), also=named[1:]))
    return Annotations((), tuple(entries), tuple(problems))


def _voc_objects(path: Path) -> tuple[str, list[str]]:
    """The photo's name and the names of the objects. Raises ValueError for a document type, which can hide bombs."""
    photos: list[str] = []
    objects: list[str] = []
    found = {("annotation", "filename"): photos, ("annotation", "object", "name"): objects}
    open_tags: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        open_tags.append(tag)
        if len(open_tags) <= 3 and tuple(open_tags) in found:
            found[tuple(open_tags)].append("")

    def text(data: str) -> None:
        if len(open_tags) <= 3 and tuple(open_tags) in found:
            found[tuple(open_tags)][-1] += data

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: open_tags.pop()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    if path.stat().st_size > MAX_XML_BYTES:
        raise ValueError(f"larger than {MAX_XML_BYTES} bytes")
    parser.Parse(read_file(path), True)
    return nfc(photos[0]) if photos else "", [name for name in map(clean, objects) if name]


# --------------------------------------------------------------------------------------------------------------- CSV


def read_csv(path: Path) -> Annotations:
    """A CSV file with a row for each thing (photo and class, boxes or not), or a tags file of any form."""
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if lines and lines[0].lstrip()[:1] not in ("{", "["):
        delimiter = next((sign for sign in lines[0] if sign in "\t,;"), ",")
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise UserError(f"{path}: {error}; check the quotes") from None
        header = [nfc(cell).casefold() for cell in rows[0]]
        photo_column = next((place for place, cell in enumerate(header) if cell in IMAGE_COLUMNS), None)
        class_column = next((header.index(name) for name in CLASS_COLUMNS if name in header), None)
        sure_column = next((place for place, cell in enumerate(header) if cell in SURE_COLUMNS), None)
        if photo_column is not None and class_column is not None:
            return _rows(path, rows[1:], photo_column, class_column, sure_column)
        if len(header) == 6 and PurePosixPath(header[0]).suffix in PHOTO_SUFFIXES:  # path,x1,y1,x2,y2,class
            return _rows(path, rows, 0, 5)
    table = read_table(path)
    entries = [
        Entry(row.where, row.photo, tuple(Thing(clean(tag), whole=True) for tag in row.tags)) for row in table.rows
    ]
    return Annotations(tuple(map(clean, table.columns)), tuple(entries), table.problems)


def _rows(
    path: Path, rows: Sequence[Sequence[str]], photo_column: int, class_column: int, sure_column: int | None = None
) -> Annotations:
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows, start=1):
        where = f"{path.name}, row {number}"
        if len(row) <= photo_column or not row[photo_column].strip():
            problems.append(Problem(where, "no photo is named"))
            continue
        cell = row[class_column] if class_column < len(row) else ""
        if sure_column is not None and sure_column < len(row) and row[sure_column].strip() in ("0", "0.0"):
            cell = ""
        entries.append(Entry(where, nfc(row[photo_column]), tuple(Thing(clean(name)) for name in split_tags(cell))))
    return Annotations((), tuple(entries), tuple(problems))


# ----------------------------------------------------------------------------------------------------------- folders


def read_folders(root: Path, photos: Iterable[str], same: Callable[[Iterable[Path]], list[list[Path]]]) -> Annotations:
    """Photos in folders named by class, below train/, val/ and the like or not.

    `same` groups paths of equal content: a photo that lies in several folders gets the tags of all.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    tags: dict[str, str] = {}
    for photo in photos:
        folders = [part for part in PurePosixPath(photo).parts[:-1] if part.casefold() not in {*SPLITS, "images"}]
        if folders:
            tags[photo] = clean(folders[0])
        else:
            problems.append(Problem(photo, "lies in no folder named by class"))
    known = {root / photo: photo for photo in tags}
    extra: dict[str, list[str]] = {}
    for group in same(known):
        alike = [known[path] for path in group]
        if len({tags[name] for name in alike}) > 1:
            kept, *others = alike
            extra[kept] = [tags[name] for name in others]
            for other in others:
                problems.append(Problem(other, f"the same photo as {kept}, which gets the tags of both"))
                del tags[other]
    for photo, tag in tags.items():
        names = dict.fromkeys([tag, *extra.get(photo, [])])
        entries.append(Entry(photo, photo, tuple(Thing(name, whole=True) for name in names)))
    return Annotations((), tuple(entries), tuple(problems))
