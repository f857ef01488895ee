"""Reader of any folder of photos with a tags file.

    tags.csv or tags.json       one row a photo (labels.csv, metadata.jsonl and the like as well); see `tagfile`
    *.jpg, images/*.png, ...    the photos, in the folder itself or below it
    classes.txt                 optional: the classes in order, `name` or `name,prompt word` a line
    masks/ or SegmentationClass*/   optional: masks with the photos' names
    val.txt, splits/val.txt     optional lists of photos, one a line, chosen by `split`

Photos are named relative to the folder; the extension and a leading `images/`, `photos/` or `JPEGImages/` may be
missing. A tag `dog?` leaves open whether there is one. A row with no tags is a photo of background only; a photo
without a row is set aside: nothing is known of it.

Class order: `classes.txt`; else, with one column per class, the order of the columns; else, where the masks folder is
`SegmentationClass*` and every tag is a VOC name, VOC's 20 classes, so that the masks' values fit; else alphabetical.
A mask belongs to the photo with the same path without extension (also without the leading `images/` and the like);
numbered folders, in which runs write the label maps of many photos (`core.places`), are no part of that path.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from semples.core.errors import UserError
from semples.data import open_tags
from semples.data.dataset import VOC_CLASSES, ClassList, FileDataset, Item, Problem, class_list
from semples.data.listfile import given_list, list_of, named_lists
from semples.data.listing import MASK_FOLDERS, list_photos, mask_files
from semples.data.names import PhotoFinder, shorter, stem, unique_ids
from semples.data.tagfile import TagTable, read_table
from semples.data.tagjoin import join, join_names, not_found
from semples.data.text import nfc, read_text

TAG_FILES = ("tags.csv", "tags.json", "tags.tsv", "labels.csv", "labels.json", "metadata.jsonl", "metadata.csv")


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
    listing = list_photos(root)
    finder = PhotoFinder(listing.photos)
    joined = join(table, finder)
    problems = [*table.problems, *joined.problems, *listing.problems]
    masks = next((name for name in MASK_FOLDERS if (root / name).is_dir()), None)
    class_names = _classes(root, classes, table, masks)

    chosen = listing.photos if split is None else _listed(root, split, finder, problems)
    ids = unique_ids(listing.photos)
    mask_root = root / (masks or "")
    mask_index = {} if masks is None else _mask_index(mask_root)
    numbers = {name: number for number, name in enumerate(class_names.names)}
    notes = list(table.notes)
    items = []
    for path in chosen:
        if path in joined.lost:
            continue  # its row is among the problems
        if path not in joined.tags:
            problems.append(Problem(path, f"no row in {tags.name}; background only is a row without tags"))
            continue
        where, written = joined.tags[path]
        sure, unsure = open_tags.parted(written, numbers)
        names = _parted(sure, numbers)
        if names != sure:
            notes.append(Problem(where, f"tags parted by blanks are read as {', '.join(names)}; part them by ;"))
        missing = [name for name in (*names, *unsure) if name not in numbers]
        if missing:
            problems.append(Problem(where, unknown_tag(missing[0], class_names)))
            continue
        mask = _mask_of(path, ids[path], mask_index)
        shown = tuple(sorted({numbers[name] for name in names}))
        left_open = tuple(sorted({numbers[name] for name in unsure} - set(shown)))
        items.append(Item(ids[path], root / path, shown, None if mask is None else mask_root / mask, left_open))
    listed = given_list(split)
    name = root.resolve().name + (f"/{split if listed is None else listed.stem}" if split else "")
    return FileDataset(name, root, class_names, tuple(items), tuple(problems), max_megapixels, notes=tuple(notes))


def unknown_tag(name: str, classes: ClassList) -> str:
    """What to say of a tag that is not a class."""
    near = [known for known in classes.names if known.casefold() == name.casefold()]
    hint = f"write {near[0]!r}" if near else "correct it or add it to the class list"
    if len(name.split()) > 1 and any(word in classes.names for word in name.split()):
        hint = "part several tags by ; rather than blanks, or add it to the class list"
    return f"tag {name[:60]!r} is not in the class list; the photo is set aside; {hint}"


def _parted(names: tuple[str, ...], known: Container[str]) -> tuple[str, ...]:
    """Tags of which one that is no class, but whose words all are, is read as these words."""
    parted: list[str] = []
    for name in names:
        words = name.split()
        parted += [name] if name in known or not all(word in known for word in words) else words
    return tuple(dict.fromkeys(parted))


# ------------------------------------------------------------------------------------------------------ lists, masks


def _listed(root: Path, split: str, finder: PhotoFinder, problems: list[Problem]) -> list[str]:
    path = given_list(split) or list_of(split, named_lists([root, root / "splits"]), where=root)
    lines = [(number, nfc(line)) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()]
    chosen: dict[str, None] = {}
    for (number, line), match in zip(lines, join_names([line for _, line in lines], finder), strict=True):
        if match.path is not None:
            chosen[match.path] = None
        else:
            problems.append(Problem(f"{path.name}, line {number}", not_found(line, match)))
    return list(chosen)


def _classes(root: Path, given: ClassList | None, table: TagTable, masks: str | None) -> ClassList:
    if given is not None:
        return given
    if (root / "classes.txt").is_file():
        return class_list(root / "classes.txt")
    if table.columns:
        return ClassList(table.columns)
    names = {open_tags.bare(tag) for row in table.rows for tag in row.tags}
    if not names:
        raise UserError(f"{root}: no row carries a tag; write the tags, or name the classes in classes.txt")
    if masks is not None and masks.startswith("SegmentationClass") and names <= set(VOC_CLASSES.names):
        return VOC_CLASSES
    return ClassList(tuple(sorted(names)))


def _mask_index(folder: Path) -> dict[str, str]:
    """Mask files below a folder, by their path with and without extension, numbered folders left out of it."""
    files = mask_files(folder)
    return {stem(name): path for name, path in reversed(files.items())} | files


def _mask_of(path: str, photo_id: str, masks: dict[str, str]) -> str | None:
    """The mask of a photo among `masks` (by name with and without extension)."""
    full = nfc(path)
    forms = dict.fromkeys((full, "/".join(shorter(tuple(full.split("/"))))))
    names = [name for form in forms for name in (form, stem(form))]
    if photo_id == full:  # shares its short name with another photo: only a mask named in full is its own
        names = [f"{form}{suffix}" for form in forms for suffix in (".png", ".tif", ".bmp", ".gif", ".npy")]
    return next((masks[name] for name in names if name in masks), None)
