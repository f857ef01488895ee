"""Which columns of a grid name the photo and its tags, and which are classes that each row answers with yes or no."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from semples.core.errors import UserError
from semples.data.names import is_photo_name
from semples.data.tables.cells import flag, is_number

PHOTO_COLUMNS = frozenset(
    {"image", "images", "photo", "photos", "file", "files", "filename", "file_name", "path", "name", "img", "id",
     "image_path", "imagepath", "imageid", "image_id", "image_name", "imagename", "img_path", "img_name", "filepath",
     "file_path", "image_file", "picture", "uri", "url", "image_uri", "image_url", "#filename"}
)  # fmt: skip
# In the order of preference: words for several tags first, names before numbers.
MANY = ("tags", "labels", "classes", "categories", "class_names", "label_names", "objects")
ONE = ("tag", "label_name", "labelname", "class_name", "classname", "category_name", "label", "class", "category",
       "object", "class_label")  # fmt: skip
TAG_COLUMNS = frozenset((*MANY, *ONE))
SURE = "confidence"  # Open Images: 0 says that the class is known to be absent
_LIKE = {"tag", "tags", "label", "labels", "class", "classes", "category", "categories"}  # words of other names
# Beside columns of yes and no these describe the photo; they are no classes.
REMARKS = frozenset(
    {"split", "set", "subset", "fold", "partition", "width", "height", "size", "source", "license", "date", "md5",
     "sha256", "url", "xmin", "ymin", "xmax", "ymax", "x", "y", "w", "h", "comment", "comments", "note", "notes",
     "index", "level_0", "row", "nr", "no."}
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The photo's column; the tags' columns, or the classes' (`flags`); `many`: several rows of a photo are usual.

    `ignored` are columns beside flags that hold other things; `note` says what was guessed.
    """

    photo: int
    tags: tuple[int, ...]
    flags: tuple[int, ...]
    many: bool
    sure: int | None = None
    ignored: tuple[str, ...] = ()
    note: str = ""


def choose(
    path: object, names: Sequence[str], cells: Callable[[int], Sequence[Any]], *, photo: int | None = None
) -> Columns:
    """What the columns are; `cells(k)` are those of column k, `photo` is the photo's where that is known.

    Raises UserError where it cannot be told.
    """
    lowered = [re.sub(r"[\s-]+", "_", name.casefold()) for name in names]
    photo = _photo_column(lowered, cells) if photo is None else photo
    rest = [index for index in range(len(names)) if index != photo]
    sure = next((index for index in rest if lowered[index] == SURE), None)
    for known, many in ((MANY, False), (ONE, True)):
        column = next((index for word in known for index in rest if lowered[index] == word), None)
        one_of_flags = many and len(rest) > 1 and all(_is_flags(cells(index)) for index in rest)
        if column is not None and not one_of_flags:  # a class may be called `object`
            return Columns(photo, (column,), (), many, sure)
    like = [index for index in rest if _LIKE & set(lowered[index].split("_")) and _is_words(cells(index))]
    if len(like) == 1:
        return Columns(photo, (like[0],), (), True, sure)
    numbered = [index for index in rest if re.fullmatch(r"(tag|label|class|category|object)s?_?\d+", lowered[index])]
    if len(numbered) > 1 and not all(_is_flags(cells(index)) for index in numbered):
        return Columns(photo, tuple(numbered), (), False)
    remarks = [
        index for index in rest if lowered[index] in REMARKS or _is_index(names[index], cells(index), index == 0)
    ]
    odd = [index for index in rest if index not in remarks and not _mostly_flags(cells(index))]
    if len(odd) == 1 and len(odd) + len(remarks) == len(rest) and _is_words(cells(odd[0])):
        guess = f"the tags are taken from the column {names[odd[0]]!r}"
        return Columns(photo, (odd[0],), (), True, sure, note=guess)
    flags = tuple(index for index in rest if index not in remarks and index not in odd)
    chosen = [names[index] for index in flags]
    if "" in chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"{path}: its first line must name every column once (no column is called `tags`)")
    if not flags:
        listed = ", ".join(name or "(no name)" for name in names[:8])
        raise UserError(
            f"{path}: no column of tags; call it `tags` (or label, class, category), or write one column of 1 and 0 "
            f"for each class; its columns are {listed}"
        )
    ignored = tuple(names[index] for index in (*odd, *(i for i in remarks if lowered[i] in REMARKS - {"index"})))
    return Columns(photo, (), flags, False, None, ignored)


def _photo_column(lowered: Sequence[str], cells: Callable[[int], Sequence[Any]]) -> int:
    """Of the columns with a fitting name the one whose cells look most like photos; else any such; else the first."""
    named = [index for index, name in enumerate(lowered) if name in PHOTO_COLUMNS]
    if len(named) == 1:
        return named[0]
    candidates = named or [index for index, name in enumerate(lowered) if name not in TAG_COLUMNS]
    scores = {
        index: _share(cells(index), lambda cell: isinstance(cell, str) and is_photo_name(cell)) for index in candidates
    }
    best = max(candidates, key=lambda index: scores[index], default=0)
    if scores.get(best):
        return best
    if named:
        return named[0]
    return next((index for index in candidates if not _is_index(lowered[index], cells(index), index == 0)), 0)


def _is_photo(cell: Any) -> bool:
    return isinstance(cell, str) and is_photo_name(cell)


def _is_index(name: str, cells: Sequence[Any], first: bool) -> bool:
    """Whether a column is the row numbers that pandas writes: without a name, or a word for it, and whole numbers."""
    if not name and not first:
        return all(cell in (None, "") for cell in cells)  # commas at the end of each line
    nameless = not name or re.fullmatch(r"unnamed(:|_)\s*_?\d+.*|index|level_\d+", name.casefold())
    return bool(nameless) and all(is_number(cell) or cell in (None, "") for cell in cells)


def _is_flags(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(flag(cell) is not None for cell in cells) and any(flag(cell) for cell in cells)


def _is_words(cells: Sequence[Any]) -> bool:
    """Whether cells are short names, rather than numbers or sentences."""
    told = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if not told or all(is_number(cell) for cell in told):
        return False
    words = [len(name.split()) for cell in told for name in re.split(r"[;|,]", cell)]
    return sum(words) <= 2.5 * len(words)


def _mostly_flags(cells: Sequence[Any]) -> bool:
    told = [cell for cell in cells if cell not in (None, "")]
    return not told or _share(told, lambda cell: flag(cell) is not None) >= 0.5


def _share(cells: Sequence[Any], test: Callable[[Any], bool]) -> float:
    return sum(map(test, cells)) / len(cells) if cells else 0.0
