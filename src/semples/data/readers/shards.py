"""Reader of a folder of tar archives in the layout of WebDataset, read without unpacking.

    train-000000.tar            one or many; of each photo, side by side and of one name:
        KEY.jpg                     the photo (any format that is read elsewhere)
        KEY.json                    its tags: {"tags": ["dog", "cat"]}, or "labels", or a text `dog;cat`
        KEY.cls, KEY.txt, KEY.tags  or these: a text `dog;cat`
        KEY.mask.png                optional: its mask
    classes.txt                 optional: the classes in order, `name` or `name,prompt word` a line

A photo's id is `train-000000/KEY`, so that what is made of an archive's photos lies in a folder of its own: archives of
at most ten thousand photos keep folders small. Class order: classes.txt, else alphabetical. A tag `dog?` leaves open
whether there is one. A photo without a file of tags is set aside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import read_file
from semples.core.tars import SUFFIX, members
from semples.data import open_tags
from semples.data.dataset import ClassList, FileDataset, Item, Problem, class_list, safe_relative
from semples.data.suffixes import PHOTO_SUFFIXES

TEXTS = (".cls", ".txt", ".tags")
MASK = ".mask.png"
LOOKED_AT = 1_000  # members of the first archive that tell whether this is the layout
LONGEST = 1_000_000  # bytes of a file of tags


def recognises(root: Path) -> bool:
    """Whether the folder holds tar archives, and the first has photos with tags beside them."""
    first = next(iter(_archives(root)), None)
    if first is None:
        return False
    try:
        names = set(list(members(first))[:LOOKED_AT])
    except OSError:
        return True  # damaged: `read` says so
    return any(_tags_file(_key(name), names) is not None for name in names if _is_photo(name))


def read(
    root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
) -> FileDataset:
    """List the photos of the archives. Raises UserError."""
    if tags is not None:
        raise UserError(f"{root}: tags of photos in archives lie beside them there; leave --tags out")
    if split is not None:
        raise UserError(f"{root}: archives have no list {split!r} of photos; give a folder of those that are meant")
    problems: list[Problem] = []
    rows = [row for archive in _archives(root) for row in _rows(archive, problems)]
    file = root / "classes.txt"
    if classes is None and file.is_file():
        classes = class_list(file)
    if classes is None:
        names = {open_tags.bare(tag) for _, _, written, _ in rows for tag in written}
        if not names:
            raise UserError(f"{root}: no photo in the archives carries a tag; name the classes in classes.txt")
        classes = ClassList(tuple(sorted(names)))
    numbers, items = {name: number for number, name in enumerate(classes.names)}, []
    for id, photo, written, mask in rows:
        sure, unsure = open_tags.parted(written, numbers)
        missing = [name for name in (*sure, *unsure) if name not in numbers]
        if missing:
            problems.append(Problem(id, f"tag {missing[0][:60]!r} is not in the class list; the photo is set aside"))
            continue
        shown = tuple(sorted({numbers[name] for name in sure}))
        left_open = tuple(sorted({numbers[name] for name in unsure} - set(shown)))
        items.append(Item(id, photo, shown, mask, left_open))
    return FileDataset(root.resolve().name, root, classes, tuple(items), tuple(problems), max_megapixels)


Row = tuple[str, Path, tuple[str, ...], Path | None]  # id, photo, tags as they are written, mask


def _archives(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.suffix == SUFFIX and path.is_file())


def _rows(archive: Path, problems: list[Problem]) -> Iterator[Row]:
    """The photos of an archive with their tags."""
    try:
        places: Mapping[str, tuple[int, int]] = members(archive)
    except OSError as error:
        raise UserError(f"{archive}: {error.strerror}; make it again") from None
    keys: set[str] = set()
    for name in places:
        if not _is_photo(name):
            continue
        key, where = _key(name), f"{archive.name}/{name}"
        below = safe_relative(key)
        if below is None:
            problems.append(Problem(where, "a name that leads out of its folder; the photo is set aside"))
            continue
        if key in keys:
            problems.append(Problem(where, "another photo of this archive has the name; this one is set aside"))
            continue
        keys.add(key)
        beside = _tags_file(key, places)
        if beside is None:
            problems.append(Problem(where, f"no {key}.json or {key}.txt with its tags beside it"))
            continue
        try:
            written = _tags(archive / beside, places[beside][1])
        except ValueError as error:
            problems.append(Problem(f"{archive.name}/{beside}", str(error)))
            continue
        mask = archive / f"{key}{MASK}" if f"{key}{MASK}" in places else None
        yield f"{archive.stem}/{below}", archive / name, written, mask


def _is_photo(name: str) -> bool:
    folded = name.casefold()
    return not folded.endswith(MASK) and any(folded.endswith(suffix) for suffix in PHOTO_SUFFIXES)


def _key(name: str) -> str:
    return name[: name.rindex(".")]


def _tags_file(key: str, names: Mapping[str, object] | set[str]) -> str | None:
    return next((f"{key}{suffix}" for suffix in (".json", *TEXTS) if f"{key}{suffix}" in names), None)


def _tags(path: Path, size: int) -> tuple[str, ...]:
    """The tags in a file as they are written. Raises ValueError, for people, where there are none to read."""
    if size > LONGEST:
        raise ValueError(f"{size} bytes are too many for a file of tags")
    try:
        text = read_file(path).decode("utf-8-sig")
        value = json.loads(text) if path.suffix == ".json" else text
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its tags cannot be read; write JSON in UTF-8, or a text `dog;cat`") from None
    if isinstance(value, dict):
        value = next((value[name] for name in ("tags", "labels", "classes") if name in value), None)
    if isinstance(value, str):
        value = value.replace("\n", ";").split(";" if ";" in value or "\n" in value else ",")
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise ValueError('no tags in it; write {"tags": ["dog", "cat"]}')
    return tuple(dict.fromkeys(tag.strip() for tag in value if tag.strip()))
