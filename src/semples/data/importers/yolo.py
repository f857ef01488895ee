"""YOLO's text files: a line `class x y width height` or `class x1 y1 x2 y2 ...`, in fractions of the photo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations, Entry, Thing, clean, some, whole
from semples.data.importers.base import Importer, Source, load_yaml
from semples.data.importers.yolo_lines import Kind, Line, kind_of, read_lines
from semples.data.problem import Problem
from semples.data.text import read_text

LISTS = ("classes.txt", "obj.names", "predefined_classes.txt", "labels/classes.txt")
NOT_LABELS = (
    "classes",
    "labels",
    "train",
    "val",
    "valid",
    "test",
    "trainval",
    "readme",
    "requirements",
    "notes",
    "predefined_classes",
)


class Yolo(Importer):
    """YOLO of every kind: boxes, outlines; oriented boxes and key points give tags only."""

    about = "YOLO's text files with data.yaml, classes.txt or obj.names"

    def recognises(self, source: Source) -> bool:
        if source.path.suffix.casefold() in (".yaml", ".yml"):
            return bool(_names_in(source.path))
        texts = [path for path in source.with_suffix(".txt") if _is_label(path)]
        return source.path.is_dir() and bool(texts) and (_has_names(source) or _look_like_labels(source, texts))

    def photo_root(self, source: Source) -> Path | None:
        """The folder that a YAML names under `path`, from its own folder or the one the program runs in."""
        return _data_root(source.path) if source.path.is_file() else None

    def read(self, source: Source) -> Annotations:
        names, kpt_shape = _classes(source)
        root = _data_root(source.path) or source.root if source.path.is_file() else source.root
        files: dict[str, Path] = {}
        for photo in source.photos:
            there = next((file for file in _files(root, source.photo_root, photo) if file.is_file()), None)
            if there is not None:
                files[photo] = there
        if not files:
            raise UserError(f"{root}: no photo has a text file of its own name (beside it, or in labels/)")
        lines = {photo: read_lines(file) for photo, file in files.items()}
        kind = kind_of([line for told in lines.values() for line in told], kpt_shape)
        problems: list[Problem] = []
        entries = [_entry(source, photo, file, lines[photo], names, kind) for photo, file in files.items()]
        used = {file.resolve() for file in files.values()}
        lost = sorted(
            source.told(file) for file in source.with_suffix(".txt") if _is_label(file) and file.resolve() not in used
        )
        if lost and source.path.is_dir():
            problems.append(Problem(source.root.name, f"{len(lost)} text files belong to no photo: {some(lost, 20)}"))
        notes = [kind.note] if kind.note else []
        bare = [entry.photo for entry in entries if not entry.things and not entry.fault]
        if bare:
            notes.append(f"{len(bare)} text files are empty ({some(bare)}): background only")
        return Annotations(tuple(names.values()), tuple(entries), tuple(problems), tuple(notes))


def _entry(source: Source, photo: str, file: Path, lines: list[Line], names: Mapping[int, str], kind: Kind) -> Entry:
    things: list[Thing] = []
    wrong: list[str] = []
    for line in lines:
        name = None if line.number is None else names.get(line.number)
        if name is None:
            wrong.append(f"line {line.place}: {line.wrong or f'no class has the number {line.number}'}")
            continue
        outline = kind.outline(line)
        things.append(Thing(name, None if outline is None else [outline], 1.0))
    return Entry(source.told(file), photo, tuple(things), fault=some(wrong, 1))


def _files(root: Path, photos_root: Path, photo: str) -> Iterator[Path]:
    """Where the text file of a photo may be."""
    path = PurePosixPath(photo).with_suffix(".txt")
    parts = list((photos_root / path).parts)
    for folder in ("images", "JPEGImages", "Images"):
        if folder in parts:
            parts[len(parts) - 1 - parts[::-1].index(folder)] = "labels"
            yield Path(*parts)
            break
    yield photos_root / path
    yield from (root / "labels" / path, root / "labels" / path.name, root / path, root / path.name)


def _is_label(path: Path) -> bool:
    return path.stem.casefold() not in NOT_LABELS and not path.stem.casefold().startswith("readme")


def _look_like_labels(source: Source, texts: list[Path]) -> bool:
    """Whether text files with the names of photos hold YOLO's lines, though no list of names is there."""
    stems = {PurePosixPath(photo).stem for photo in source.photos}
    paired = [path for path in texts if path.stem in stems]
    tried = [line for path in paired[:20] for line in read_lines(path)]
    return bool(paired) and sum(line.number is not None for line in tried) >= 0.8 * len(tried)


# ------------------------------------------------------------------------------------------------------------ names


@dataclass(frozen=True)
class _Yaml:
    """What a YAML says: names by number, and the shape of its key points."""

    path: Path
    names: dict[int, str]
    kpt_shape: tuple[int, int] | None


def _has_names(source: Source) -> bool:
    lists = any((source.root / name).is_file() for name in LISTS) or any(source.with_suffix(".names"))
    return lists or any(_names_in(path) for path in source.with_suffix(".yaml", ".yml"))


def _classes(source: Source) -> tuple[dict[int, str], tuple[int, int] | None]:
    """Names by number, and the shape of key points where one is told. Raises UserError."""
    paths = source.with_suffix(".yaml", ".yml")
    told = [content for path in sorted(paths, key=lambda path: (len(path.parts), path.name != "data.yaml"))
            if (content := _read_yaml(path)) is not None]  # fmt: skip
    if told:
        if any(other.names != told[0].names for other in told[1:]):
            files = ", ".join(source.told(one.path) for one in told)
            raise UserError(f"{source.path}: {files} name different classes; name one of these files")
        return told[0].names, told[0].kpt_shape
    lists = [source.root / name for name in LISTS] + sorted(source.with_suffix(".names"))
    lists += [path for path in source.with_suffix(".txt") if path.name == "classes.txt"]
    for path in lists:
        if path.is_file():
            lines = [line for line in read_text(path).splitlines() if line.strip()]
            return _distinct(path, dict(enumerate(lines))), None
    raise UserError(
        f"{source.root}: no class names; add classes.txt with one name a line, in the order of the class numbers"
    )


def _names_in(path: Path) -> bool:
    try:
        return "names:" in read_text(path)
    except UserError:
        return False


def _read_yaml(path: Path) -> _Yaml | None:
    if not _names_in(path):
        return None
    tree = load_yaml(path)
    told = tree.get("names") if isinstance(tree, dict) else None
    if isinstance(told, str) and (path.parent / told).is_file():
        lines = read_text(path.parent / told).splitlines()
        told = dict(enumerate(line for line in lines if line.strip()))
    elif isinstance(told, str):
        told = dict(enumerate(told.split(",")))
    elif isinstance(told, list):
        told = dict(enumerate(told))
    if not isinstance(told, dict) or not told:
        return None
    numbers = {whole(number): name for number, name in told.items()}
    if None in numbers or len(numbers) < len(told):
        raise UserError(f"{path}: `names` must be a list, or numbers with names")
    shape = tree.get("kpt_shape")
    fits = isinstance(shape, list) and len(shape) == 2 and all(type(side) is int and 0 < side < 1000 for side in shape)
    names = {number: numbers[number] for number in sorted(number for number in numbers if number is not None)}
    return _Yaml(path, _distinct(path, names), (shape[0], shape[1]) if fits else None)


def _distinct(path: Path, told: Mapping[int, Any]) -> dict[int, str]:
    names = {number: clean(name) for number, name in told.items()}
    if not all(names.values()) or len(set(names.values())) < len(names):
        raise UserError(f"{path}: its class names must be different and not empty")
    return names


def _data_root(path: Path) -> Path | None:
    """The folder under `path` in a YAML; None where it has none. Raises UserError where it is not there."""
    if path.suffix.casefold() not in (".yaml", ".yml"):
        return None
    tree = load_yaml(path)
    told = tree.get("path") if isinstance(tree, dict) else None
    if not isinstance(told, str) or not told.strip():
        return None
    below = Path(told.replace("\\", "/")).expanduser()
    places = (path.parent / below, Path.cwd() / below, path.parent / "datasets" / below, path.parent.parent / below)
    there = next((place for place in places if place.is_dir()), None)
    if there is None and any((path.parent / name).is_dir() for name in ("images", "labels", "train", "valid")):
        return path.parent  # moved since, with its photos
    if there is None:
        raise UserError(
            f"{path}: its `path` is {told}, and no such folder is there; correct it, or name the photos with --photos"
        )
    return there.resolve()
