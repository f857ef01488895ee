"""Reader of any folder of photos with a tags file.

    tags.csv or tags.json       one row a photo (labels.csv, labels.json are read as well); see `tagfile`
    *.jpg, images/*.png, ...    the photos, in the folder itself or below it
    classes.txt                 optional: the classes in order, `name` or `name,prompt word` a line
    masks/ or SegmentationClass*/   optional: masks with the photos' names
    val.txt, splits/val.txt     optional lists of photos, one a line, chosen by `split`

Photos are named relative to the folder; the extension and a leading `images/`, `photos/` or `JPEGImages/` may be
missing. A row with no tags is a photo of background only; a photo without a row is set aside: nothing is known of it.

Class order: `classes.txt`; else, with one column per class, the order of the columns; else, where the masks folder is
`SegmentationClass*` and every tag is a VOC name, VOC's 20 classes, so that the masks' values fit; else alphabetical.
A mask belongs to the photo with the same path without extension (also without the leading `images/` and the like).
"""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from semples.core.errors import UserError
from semples.core.plain import is_utf8, plain
from semples.data.dataset import VOC_CLASSES, ClassList, FileDataset, Item, Problem, class_list, safe_relative
from semples.data.photos import MASK_SUFFIXES, PHOTO_SUFFIXES
from semples.data.tagfile import Row, TagTable, read_table
from semples.data.text import nfc, read_text

TAG_FILES = ("tags.csv", "tags.json", "tags.tsv", "labels.csv", "labels.json")
PHOTO_FOLDERS = ("images", "photos", "JPEGImages")
MASK_FOLDERS = ("masks", "SegmentationClassAug", "SegmentationClass")


def recognises(root: Path) -> bool:
    """Whether the folder holds a tags file."""
    return any((root / name).is_file() for name in TAG_FILES)


def read(
    root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
) -> FileDataset:
    """List the photos of a folder with a tags file. Raises UserError."""
    tags = tags or next((root / name for name in TAG_FILES if (root / name).is_file()), None)
    if tags is None:
        raise UserError(f"{root}: no tags file; write tags.csv with a line `image,tags` and one row for each photo")
    table = read_table(tags)
    refused: list[Problem] = []
    index = PhotoIndex.of(find_files(root, refused=refused))
    known, problems = _known_tags(table, index)
    problems = [*refused, *table.problems, *problems]
    masks = next((name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    class_names = _classes(root, classes, table, masks)

    chosen = index.paths if split is None else _listed(root, split, index, problems)
    ids = unique_ids(index.paths)
    mask_root = root / (masks or "")
    mask_index = {} if masks is None else _mask_index(mask_root)
    numbers = {name: number for number, name in enumerate(class_names.names)}
    items = []
    for path in chosen:
        if path not in known:
            problems.append(Problem(path, f"no row in {tags.name}; background only is a row without tags"))
            continue
        where, names = known[path]
        missing = [name for name in names if name not in numbers]
        if missing:
            problems.append(Problem(where, unknown_tag(missing[0], class_names)))
            continue
        mask = _mask_of(path, ids[path], mask_index)
        found = tuple(sorted(numbers[name] for name in names))
        items.append(Item(ids[path], root / path, found, None if mask is None else mask_root / mask))
    name = root.resolve().name + (f"/{split}" if split else "")
    return FileDataset(name, root, class_names, tuple(items), tuple(problems), max_megapixels)


def unknown_tag(name: str, classes: ClassList) -> str:
    """What to say of a tag that is not a class."""
    near = [known for known in classes.names if known.casefold() == name.casefold()]
    hint = f"write {near[0]!r}" if near else "correct it or add it to the class list"
    return f"tag {name[:60]!r} is not in the class list; the photo is set aside; {hint}"


# ------------------------------------------------------------------------------------------------------ photos


def find_files(root: Path, *, refused: list[Problem] | None = None) -> list[str]:
    """Paths below `root`, posix style and sorted, of files that look like photos; hidden ones and masks left out.

    Those whose names are not UTF-8 are left out, too, and added to `refused`.
    """
    found: list[str] = []
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back into a folder already visited
            folders.clear()
            continue
        seen.add(real)
        below = "" if Path(folder) == root else Path(folder).relative_to(root).as_posix() + "/"
        hidden = [name for name in folders if name.startswith(".") or (not below and _holds_masks(name))]
        folders[:] = sorted(set(folders) - set(hidden))
        for name in files:
            if not name.startswith(".") and posixpath.splitext(name)[1].casefold() in PHOTO_SUFFIXES:
                if is_utf8(below + name):
                    found.append(below + name)
                elif refused is not None:
                    refused.append(not_utf8(below + name))
    return sorted(found)


def not_utf8(path: str) -> Problem:
    """What to say of a photo whose name no file of this program could hold."""
    return Problem(plain(path), "its name is not UTF-8; rename it (for example with convmv)")


def _holds_masks(folder: str) -> bool:
    return folder == "masks" or folder.startswith(("SegmentationClass", "SegmentationObject"))


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


@dataclass(frozen=True)
class PhotoIndex:
    """Finds photos by the names people write: extension or photos folder missing, other case, other Unicode form."""

    paths: list[str]
    by_name: dict[str, set[str]] = field(repr=False)

    @staticmethod
    def of(paths: Iterable[str]) -> PhotoIndex:
        """Index of photo paths relative to a dataset's root."""
        ordered = list(paths)
        by_name: dict[str, set[str]] = defaultdict(set)
        for path in ordered:
            for name in _shorter(nfc(path)):
                for key in (name, _stem(name)):
                    by_name[key].add(path)
                    by_name["\0" + key.casefold()].add(path)
        return PhotoIndex(ordered, dict(by_name))

    def find(self, name: str) -> str | set[str] | None:
        """The path that `name` stands for; several where that is open; None where there is none or it is unsafe."""
        safe = safe_relative(name)
        if safe is None:
            return None
        key = nfc(safe.as_posix())
        exact = {path for path in self.by_name.get(key, ()) if nfc(path) == key}
        found = exact or self.by_name.get(key) or self.by_name.get("\0" + key.casefold()) or set()
        return next(iter(found)) if len(found) == 1 else (found or None)


def _shorter(path: str) -> list[str]:
    """`path`, and `path` without a leading photos folder."""
    first, _, rest = path.partition("/")
    return [path, rest] if rest and first in PHOTO_FOLDERS else [path]


def unique_ids(paths: Iterable[str]) -> dict[str, str]:
    """An id for each path: without extension, or with it where several photos would share the shorter one."""
    ordered = list(paths)
    ids = {path: _stem(nfc(path)) for path in ordered}
    while True:
        holders: dict[str, list[str]] = defaultdict(list)
        for path, chosen in ids.items():
            holders[chosen].append(path)
        shared = [path for group in holders.values() if len(group) > 1 for path in group if ids[path] != path]
        if not shared:
            return ids
        for path in shared:
            # Composed and decomposed spellings of one name are told apart by the spelling itself.
            ids[path] = nfc(path) if ids[path] != nfc(path) else path


# -------------------------------------------------------------------------------------------------- rows and lists


def _known_tags(table: TagTable, index: PhotoIndex) -> tuple[dict[str, tuple[str, tuple[str, ...]]], list[Problem]]:
    """For each photo that rows name: where its (last) row stands and the tags of all its rows."""
    known: dict[str, tuple[str, tuple[str, ...]]] = {}
    problems: list[Problem] = []
    for row in table.rows:
        path = index.find(row.photo)
        if not isinstance(path, str):
            problems.append(Problem(row.where, _not_found(row.photo, path)))
            continue
        if path in known and set(known[path][1]) != set(row.tags):
            problems.append(Problem(row.where, f"{row.photo}: named before with other tags; the tags of both are used"))
            row = Row(row.where, row.photo, tuple(dict.fromkeys(known[path][1] + row.tags)))
        known[path] = (row.where, row.tags)
    return known, problems


def _not_found(name: str, found: set[str] | None) -> str:
    if found:
        return f"{name[:120]}: may be any of {', '.join(sorted(found)[:3])}; write the extension"
    if safe_relative(name) is None:
        return f"{name[:120]!r}: not a path below the dataset's folder"
    return f"{name[:120]}: no such photo"


def _listed(root: Path, split: str, index: PhotoIndex, problems: list[Problem]) -> list[str]:
    lists = sorted({*root.glob("*.txt"), *(root / "splits").glob("*.txt")} - {root / "classes.txt"})
    path = next((path for path in lists if path.stem == split), None)
    if path is None:
        have = ", ".join(path.stem for path in lists) or "none (a split is a file NAME.txt with one photo a line)"
        raise UserError(f"{root}: no list for split {split!r}; there are: {have}")
    chosen: dict[str, None] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            found = index.find(nfc(line))
            if isinstance(found, str):
                chosen[found] = None
            else:
                problems.append(Problem(f"{path.name}, line {number}", _not_found(line.strip(), found)))
    return list(chosen)


def _classes(root: Path, given: ClassList | None, table: TagTable, masks: str | None) -> ClassList:
    if given is not None:
        return given
    if (root / "classes.txt").is_file():
        return class_list(root / "classes.txt")
    if table.columns:
        return ClassList(table.columns)
    names = {tag for row in table.rows for tag in row.tags}
    if not names:
        raise UserError(f"{root}: no row carries a tag; write the tags, or name the classes in classes.txt")
    if masks is not None and masks.startswith("SegmentationClass") and names <= set(VOC_CLASSES.names):
        return VOC_CLASSES
    return ClassList(tuple(sorted(names)))


def _mask_index(folder: Path) -> dict[str, str]:
    """Mask files below a folder, by their path with and without extension."""
    files = {nfc(path): path for path in find_files(folder) if posixpath.splitext(path)[1].casefold() in MASK_SUFFIXES}
    return {_stem(name): path for name, path in files.items()} | files


def _mask_of(path: str, photo_id: str, masks: dict[str, str]) -> str | None:
    """The mask of a photo among `masks` (by name with and without extension)."""
    names = [name for full in _shorter(nfc(path)) for name in (full, _stem(full))]
    if photo_id == nfc(path):  # shares its short name with another photo: only a mask named in full is its own
        names = [f"{full}{suffix}" for full in _shorter(nfc(path)) for suffix in (".png", ".tif", ".bmp", ".gif")]
    return next((masks[name] for name in names if name in masks), None)
