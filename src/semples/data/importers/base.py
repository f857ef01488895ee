"""Annotations of other programs as a folder that the folder reader reads.

    images/          the photos (hard links where the disk allows it), unless they are in the output folder already
    tags.csv         each annotated photo with its classes (tags.json where a class name holds `,` `;` or `|`)
    classes.txt      the classes, in the annotations' own order, else alphabetical
    masks/           label maps, only of photos on which every thing has an outline
    splits/          lists, where photos lie in folders train, val (valid) or test

Formats: COCO JSON; YOLO text files with data.yaml, classes.txt or obj.names; VOC XML; Label Studio's JSON export; CSV
with a row for each thing, or any tags file; photos in folders named by class. Boxes give tags only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import write_json, write_text
from semples.core.progress import track
from semples.data.classes import ClassList
from semples.data.dataset import Problem
from semples.data.fetch.archives import place
from semples.data.fetch.coco import csv_text
from semples.data.hints import same_content
from semples.data.importers import formats_json, formats_text
from semples.data.importers.annotations import Annotations, Entry, Thing, split_of, without_upload_mark
from semples.data.outlines import OutlineError, draw, write_labels
from semples.data.photos import PhotoError, probe
from semples.data.readers.folder import PHOTO_FOLDERS, TAG_FILES, PhotoIndex, find_files, unique_ids

Format = Literal["coco", "yolo", "voc", "label-studio", "csv", "folders"]


@dataclass(frozen=True)
class ImportResult:
    """What was written: the folder, the format found, how many photos and masks, the classes, and what is not used."""

    root: Path
    format: Format
    photos: int
    masks: int
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]


def import_annotations(
    annotations: Path | str,
    out: Path | str,
    *,
    photos: Path | str | None = None,
    format: Format | None = None,
    masks: bool = True,
    overwrite: bool = False,
) -> ImportResult:
    """Write tags, classes and masks into `out`, and the photos unless they lie there.

    `annotations` is a file, or a folder of them; `photos` the folder with the photos (default: that of the
    annotations). `format` None: recognised by what is there. Of things that overlap, the first-listed lies on top.
    `overwrite` replaces the tags file of `out`. A photo that is not there, a row that makes no sense: listed in the
    result's problems. Raises UserError where nothing is usable, or `out` has tags already.
    """
    source, target = Path(annotations).expanduser(), Path(out).expanduser()
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    root = source if source.is_dir() else source.parent
    photo_root = root if photos is None else Path(photos).expanduser()
    if not photo_root.is_dir():
        raise UserError(f"{photo_root}: no such folder of photos")
    taken = next((target / name for name in TAG_FILES if (target / name).is_file()), None)
    if taken is not None and not overwrite:
        raise UserError(f"{taken}: there are tags already; choose another output folder, or overwrite them")
    if format is not None and format not in get_args(Format):
        raise UserError(f"unknown format {format!r}; known are {', '.join(get_args(Format))}")
    own = _prefix(target, photo_root)
    refused: list[Problem] = []
    listed = find_files(photo_root, refused=refused)
    inside = [path for path in listed if own is None or not path.startswith(own)]
    chosen, found = _parse(source, root, photo_root, inside, target, format)
    problems = [*refused, *found.problems]
    merged = _merge(found.entries, inside, problems)
    if not merged:
        first = f"; the first problem: {problems[0].where}: {problems[0].what}" if problems else ""
        raise UserError(f"{source}: names no photo of {photo_root}{first}")
    names = found.classes or tuple(sorted({thing.name for photo in merged for thing in photo.things}))
    if not names:
        raise UserError(f"{source}: names no class")
    classes = ClassList(names)
    placed = _place_photos(merged, photo_root, target)
    drawn = _write_masks(merged, placed, target, classes, problems) if masks else 0
    _write_tables(merged, placed, target, classes, taken)
    return ImportResult(target, chosen, len(merged), drawn, names, tuple(problems))


# ---------------------------------------------------------------------------------------------------- which format


def _prefix(out: Path, root: Path) -> str | None:
    """How paths below `root` begin that lie in the output folder; None where that is elsewhere, or `root` itself."""
    inner, outer = out.resolve(), root.resolve()
    return inner.relative_to(outer).as_posix() + "/" if inner != outer and inner.is_relative_to(outer) else None


def _parse(
    source: Path, root: Path, photo_root: Path, photos: list[str], out: Path, wanted: Format | None
) -> tuple[Format, Annotations]:
    """Find the format, where none is given, and read the annotations in it."""
    files = [source] if source.is_file() else _below(source, out)
    trees = [(path, formats_json.load_json(path)) for path in files if path.suffix.casefold() == ".json"]
    coco = [(path, tree) for path, tree in trees if formats_json.is_coco(tree)]
    studio = [(path, tree) for path, tree in trees if formats_json.is_label_studio(tree)]
    xml = [path for path in files if path.suffix.casefold() == ".xml"]
    tables = [path for path in files if path.suffix.casefold() in (".csv", ".tsv")]
    tables += [path for path, tree in trees if (path, tree) not in coco + studio] if source.is_file() else []
    names = {path.name for path in files}
    yolo = source.suffix.casefold() in (".yaml", ".yml") or (
        any(path.suffix == ".txt" for path in files)
        and (not names.isdisjoint({"data.yaml", "classes.txt", "obj.names"}) or any(p.suffix == ".yaml" for p in files))
    )
    checks: dict[Format, bool] = {
        "coco": bool(coco), "label-studio": bool(studio), "voc": bool(xml), "yolo": yolo, "csv": bool(tables),
        "folders": source.is_dir(),
    }  # fmt: skip
    chosen = wanted or next((name for name, there in checks.items() if there), None)
    if chosen is None or (not checks[chosen] and chosen != "yolo"):
        what = "no annotations" if chosen is None else f"no annotations of the format {chosen}"
        raise UserError(f"{source}: {what} found; known are {', '.join(get_args(Format))}")
    if chosen in ("label-studio", "csv") and len(studio if chosen == "label-studio" else tables) > 1:
        raise UserError(f"{source}: several such files; name one of them")
    match chosen:
        case "coco":
            return chosen, formats_json.read_coco(coco, root)
        case "label-studio":
            return chosen, formats_json.read_label_studio(*studio[0])
        case "voc":
            return chosen, formats_text.read_voc(xml, masks=root / "SegmentationClass")
        case "yolo":
            return chosen, formats_text.read_yolo(root, photo_root, photos)
        case "csv":
            return chosen, formats_text.read_csv(tables[0])
        case "folders":
            return chosen, formats_text.read_folders(photo_root, photos, same_content)


def _below(folder: Path, out: Path) -> list[Path]:
    """The files in a folder and below it, hidden ones and those of the output folder left out."""
    own = _prefix(out, folder)
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in files if own is None or not path.relative_to(folder).as_posix().startswith(own))


# ----------------------------------------------------------------------------------------------------------- photos


@dataclass
class _Photo:
    """A photo that annotations name: its path below the photos' folder, where it was told of, and its things."""

    path: str
    where: str
    size: tuple[int, int] | None
    things: list[Thing] = field(default_factory=list)


def _merge(entries: Iterable[Entry], paths: list[str], problems: list[Problem]) -> list[_Photo]:
    """The photos that are there, in order, each with the things of all its entries."""
    index = PhotoIndex.of(paths)
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[PurePosixPath(path).name.casefold()].append(path)
        by_name[PurePosixPath(path).stem.casefold()].append(path)
    merged: dict[str, _Photo] = {}
    for entry in entries:
        found = _find(entry, index, by_name)
        if not found:
            problems.append(Problem(entry.where, f"{entry.photo[:120]}: no such photo"))
        elif len(found) > 1:
            problems.append(Problem(entry.where, f"{entry.photo[:120]}: may be any of {', '.join(sorted(found)[:3])}"))
        else:
            photo = merged.setdefault(found[0], _Photo(found[0], entry.where, entry.size))
            photo.things += entry.things
    return list(merged.values())


def _find(entry: Entry, index: PhotoIndex, by_name: dict[str, list[str]]) -> list[str]:
    """The photos an entry may mean: by a path it tells, by ever shorter ends of that, by its last name alone."""
    for told in (entry.photo, *entry.also):
        parts = [part for part in told.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            found = index.find("/".join(parts[start:]))
            if found:
                return [found] if isinstance(found, str) else sorted(found)
        for name in (*parts[-1:], *map(without_upload_mark, parts[-1:])):
            if by_name.get(name.casefold()):
                return by_name[name.casefold()]
    return []


def _place_photos(photos: Sequence[_Photo], photo_root: Path, out: Path) -> dict[str, str]:
    """Where each photo is below `out`; those elsewhere are linked or copied there, into images/ unless they have it."""
    source, target = photo_root.resolve(), out.resolve()
    if source.is_relative_to(target):
        below = source.relative_to(target).as_posix()
        return {photo.path: photo.path if below == "." else f"{below}/{photo.path}" for photo in photos}
    placed = {}
    for photo in track(photos, label="linking photos"):
        named = photo.path.partition("/")[0] in PHOTO_FOLDERS
        placed[photo.path] = photo.path if named else f"images/{photo.path}"
        place(photo_root / photo.path, out / placed[photo.path])
    return placed


# ------------------------------------------------------------------------------------------------------------ masks


def _write_masks(
    photos: Sequence[_Photo], placed: dict[str, str], out: Path, classes: ClassList, problems: list[Problem]
) -> int:
    """Draw the masks of photos on which everything is outlined; how many."""
    if not any(thing.outline for photo in photos for thing in photo.things):
        return 0
    numbers = {name: number for number, name in enumerate(classes.names, start=1)}
    ids = unique_ids(find_files(out))
    written = 0
    for photo in track(photos, label="masks"):
        outlined = {thing.name for thing in photo.things if thing.outline}
        open_things = [thing for thing in photo.things if not thing.outline and not thing.whole]
        if open_things or {thing.name for thing in photo.things} - outlined:
            if outlined:
                problems.append(Problem(photo.where, f"{photo.path}: no mask; not everything on it has an outline"))
            continue
        try:
            size = probe(out / placed[photo.path])
            if photo.size not in (None, size):
                raise OutlineError(f"annotated at {photo.size} pixels, but the photo has {size}")
            things = [(numbers[thing.name], _in_pixels(thing, size)) for thing in photo.things if thing.outline]
            labels = draw(size, things)
        except (OutlineError, PhotoError) as reason:
            problems.append(Problem(photo.where, f"{photo.path}: no mask; {reason}"))
            continue
        write_labels(out / "masks" / f"{ids[placed[photo.path]]}.png", labels)
        written += 1
    return written


def _in_pixels(thing: Thing, size: tuple[int, int]) -> Any:
    """A thing's outline with polygons in pixels."""
    if thing.unit is None or not isinstance(thing.outline, list):
        return thing.outline
    scales = (size[0] / thing.unit, size[1] / thing.unit)
    try:
        return [[value * scales[place % 2] for place, value in enumerate(polygon)] for polygon in thing.outline]
    except (TypeError, OverflowError):
        raise OutlineError("a polygon must be a list of numbers x1, y1, x2, y2, ...") from None


# ----------------------------------------------------------------------------------------------------------- tables


def _write_tables(
    photos: Sequence[_Photo], placed: dict[str, str], out: Path, classes: ClassList, taken: Path | None
) -> None:
    rows = [(placed[photo.path], list(dict.fromkeys(thing.name for thing in photo.things))) for photo in photos]
    with disk_trouble(out):
        lists: dict[str, list[str]] = defaultdict(list)
        for photo, _ in rows:
            split = split_of(photo)
            if split is not None:
                lists[split].append(photo)
        for split, members in lists.items():
            write_text(out / "splits" / f"{split}.txt", "".join(f"{photo}\n" for photo in members))
        write_text(out / "classes.txt", csv_text([name] for name in classes.names))
        plain = not any(re.search(r"[;|,]", name) for name in classes.names)
        if plain:
            write_text(
                out / "tags.csv", csv_text([("image", "tags"), *((photo, ";".join(tags)) for photo, tags in rows)])
            )
        else:
            write_json(out / "tags.json", [{"image": photo, "tags": tags} for photo, tags in rows])
        if taken is not None and taken.name != ("tags.csv" if plain else "tags.json"):
            taken.unlink()
