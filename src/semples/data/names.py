"""Photos by the names that people write for them: ids, an index, and the joining of told names with photos."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.text import nfc

PHOTO_FOLDERS = ("images", "photos", "JPEGImages")
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def safe_relative(name: str) -> PurePosixPath | None:
    """`name` as a path below a dataset's root, or None where it is absolute, empty or climbs out with `..`.

    Backslashes, as Windows programs write them, count as slashes.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or ":" in parts[0] or "\0" in name:
        return None
    return path


def split_of(photo: str) -> str | None:
    """The list a photo belongs to by a folder of its path: train, val or test (train2017, valid and the like too)."""
    folders = (re.sub(r"[_-]?\d{4}$", "", part.casefold()) for part in PurePosixPath(photo).parts[:-1])
    return next((SPLITS[folder] for folder in folders if folder in SPLITS), None)


def stem(path: str) -> str:
    return posixpath.splitext(path)[0]


def shorter(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a path without a leading photos folder."""
    return parts[1:] if len(parts) > 1 and parts[0] in PHOTO_FOLDERS else parts


def unique_ids(paths: Iterable[str]) -> dict[str, str]:
    """An id for each path: without extension, or with it where several photos would share the shorter one.

    Ids share a file where they differ in capitals only, as on most disks of Windows and macOS: `IMG.jpg` and `img.png`
    keep their extensions. Paths that differ in capitals only are of a disk that tells them apart.
    """
    ordered = list(paths)
    ids = {path: stem(nfc(path)) for path in ordered}
    while True:
        holders: dict[str, list[str]] = defaultdict(list)
        for path, chosen in ids.items():
            holders[chosen.casefold()].append(path)
        groups = [group for group in holders.values() if len(group) > 1]
        shared = [path for group in groups for path in group if ids[path] != path and _clashes(path, group, ids)]
        if not shared:
            return ids
        for path in shared:
            # Composed and decomposed spellings of one name are told apart by the spelling itself.
            ids[path] = nfc(path) if ids[path] != nfc(path) else path


def _clashes(path: str, group: list[str], ids: dict[str, str]) -> bool:
    """Whether another path of the group has the same id, or one that differs in capitals though the paths differ in
    more."""
    others = [other for other in group if other != path]
    full = nfc(path).casefold()
    return any(ids[other] == ids[path] or nfc(other).casefold() != full for other in others)


# --------------------------------------------------------------------------------------------------------- joining


@dataclass(frozen=True)
class Match:
    """What a told name stands for: `path`, None where that is open (`several`) or there is none.

    `cut` is the told name where folders of it do not fit the path, as of a path on another computer. `near`: photos of
    that name in another format.
    """

    path: str | None
    several: tuple[str, ...] = ()
    cut: str = ""
    near: tuple[str, ...] = ()

    def why_not(self, told: str, *, hint: str = "write more of its path, or the extension") -> str:
        """What to say of a name that stands for no photo."""
        short = told[:120]
        if self.several:
            return f"{short}: may be any of {', '.join(self.several[:3])}; {hint}"
        if self.near:
            return f"{short}: no such photo; there is {self.near[0]}"
        return f"{short}: no such photo"


class PhotoFinder:
    """Joins names as other programs write them (whole paths of another computer, addresses, bare names) with photos.

    A photo is meant by a name where they have the last part in common (the extension may be missing) and no other photo
    has more folders in common with it. A name within `test/` never means a photo within `train/`.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        self._by_name: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for path in self.paths:
            parts = tuple(nfc(path).split("/"))
            for key in {parts[-1], stem(parts[-1])}:
                self._by_name[key.casefold()].append((path, parts))

    def match(self, told: str) -> Match:
        """The photo that one name stands for."""
        parts = told_parts(told)
        if not parts:
            return Match(None)
        best: list[tuple[str, tuple[str, ...]]] = []
        length = (0, 0, 0)
        split = split_of("/".join(parts))
        for path, known in self._by_name.get(parts[-1].casefold(), ()):
            if split is not None and split_of(path) not in (None, split):
                continue
            fit = _fit(parts, known)
            if fit > length:
                best, length = [], fit
            if fit == length:
                best.append((path, known))
        if len(best) == 1:
            return Match(best[0][0], cut="/".join(parts) if length[0] < len(parts) else "")
        if best:
            if length[0] == len(parts):  # the path itself rather than one that is deeper
                exact = [path for path, known in best if len(known) == len(parts)]
                whole = exact or [path for path, known in best if len(shorter(known)) == len(parts)]
                if len(whole) == 1:
                    return Match(whole[0])
            return Match(None, tuple(sorted(path for path, _ in best)))
        near = self._by_name.get(stem(parts[-1]).casefold(), ())
        return Match(None, near=tuple(path for path, known in near if parts[-1] != known[-1])[:3])


def told_parts(told: str) -> tuple[str, ...]:
    """The parts of a path or an address as it is written, without drive, host, `.` and `..`."""
    text = nfc(told).replace("\\", "/")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        try:
            text = unquote(urlsplit(text).path)
        except ValueError:
            return ()
    text = re.sub(r"^[A-Za-z]:/?", "", text)
    return tuple(part for part in text.split("/") if part not in ("", ".", ".."))


def _fit(told: tuple[str, ...], known: tuple[str, ...]) -> tuple[int, int, int]:
    """Parts in common from the end (the last is known to fit), whether a path ends there, and how many are equal."""
    common, exact = 1, int(told[-1] in (known[-1], stem(known[-1]))) + int(told[-1] == known[-1])
    for left, right in zip(reversed(told[:-1]), reversed(known[:-1]), strict=False):
        if left.casefold() != right.casefold():
            break
        common, exact = common + 1, exact + int(left == right)
    return common, int(common in (len(told), len(known))), exact


def without_clashes(matches: Sequence[Match]) -> list[Match]:
    """`matches`, of which those are refused that different names claim for one photo, though the names' folders differ.

    Two photos of one name in two folders of another computer must not become one photo here.
    """
    claims: dict[str, set[str]] = defaultdict(set)
    for match in matches:
        if match.path is not None:
            claims[match.path].add(match.cut.casefold())
    clear = []
    for match in matches:
        refused = match.cut and match.path is not None and len(claims[match.path]) > 1
        clear.append(replace(match, path=None, several=(str(match.path),)) if refused else match)
    return clear


def without_upload_mark(name: str) -> str:
    """A photo's own name: Label Studio puts eight characters and a dash before names of uploaded photos."""
    return re.sub(r"^[0-9a-f]{8}-", "", name)


def is_photo_name(name: str) -> bool:
    """Whether a name ends like a photo's."""
    parts = told_parts(name)
    return bool(parts) and posixpath.splitext(parts[-1])[1].casefold() in PHOTO_SUFFIXES
