"""Ids of photos that lie in cells: after the paths that their rows name, else after file and row."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence

from semples.core.plain import has_control, is_utf8
from semples.data.names import safe_relative, stem
from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.text import nfc

USUAL = ".jpg"  # of a photo whose row names none; its bytes tell what it is
LONGEST = 150  # bytes of a part of a path, so that outputs can add their endings
_UNFIT = re.compile(r'[<>:"|?*\\]')


def suffix_of(name: str | None) -> str:
    """What a photo's path ends in: as its row names it, where that is a photo's."""
    suffix = posixpath.splitext(name or "")[1].casefold()
    return suffix if suffix in PHOTO_SUFFIXES else USUAL


def ids_of(rows: Sequence[tuple[str, str, int, str | None]]) -> list[str]:
    """An id for each row, given as (split or "", its file below the root without suffix, its number, its photo's path).

    The path without extension, below the split's folder where one is given; `FILE/000012` where the row names none, a
    path that would not do as a file name everywhere, or one that other rows name too. Ids do not differ in capitals
    only, and depend on the rows given alone.
    """
    plain = [f"{below}/{number:06d}" for _, below, number, _ in rows]
    named = [_named(split, name) for split, _, _, name in rows]
    taken = Counter(one.casefold() for one in (*plain, *(name for name in named if name)))
    return [name if name and taken[name.casefold()] == 1 else usual for name, usual in zip(named, plain, strict=True)]


def _named(split: str, name: str | None) -> str:
    path = None if name is None or "://" in name or _UNFIT.search(name) or has_control(name) else safe_relative(name)
    if path is None or not is_utf8(str(path)):
        return ""
    bare = stem(nfc(str(path))) if path.suffix.casefold() in PHOTO_SUFFIXES else nfc(str(path))
    parts = bare.split("/")
    if any(part.startswith(".") or part.strip(" .") != part or len(part.encode()) > LONGEST for part in parts):
        return ""
    return "/".join([split, *parts] if split else parts)
