"""Lists of photos: which files in a dataset's folder are lists, and a list file from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from semples.core.errors import UserError

PUBLISHED_END = "_id"  # published programs write train_id.txt for the list train


class NoSuchList(UserError):
    """A dataset has no list of this name."""


def given_list(split: str | None) -> Path | None:
    """The file that `split` names by its path (`lists/train_1250_id.txt`); None where it is the name of a list.

    Raises UserError where it ends in `.txt` and is no file.
    """
    if split is None or not split.casefold().endswith(".txt"):
        return None
    path = Path(split).expanduser()
    if not path.is_file():
        raise UserError(f"{split}: no such list of photos; name a file with a photo on each line, or a list's name")
    return path


def named_lists(folders: Iterable[Path]) -> dict[str, Path]:
    """List files by name; of two with one name that in the first folder counts.

    `train_aug_id.txt` is the list train_aug as well, and the only list that begins with `val` is also val.
    """
    lists: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.txt")):
            if path.name != "classes.txt":
                lists.setdefault(path.stem, path)
    for name, path in list(lists.items()):
        if name.endswith(PUBLISHED_END):
            lists.setdefault(name.removesuffix(PUBLISHED_END), path)
    held_out = sorted({path for name, path in lists.items() if name.startswith("val")})
    if len(held_out) == 1:
        lists.setdefault("val", held_out[0])
    return lists


def list_of(name: str, lists: dict[str, Path], *, where: Path, hidden: Iterable[str] = ()) -> Path:
    """The file of the list `name`. Raises NoSuchList, naming the others but those `hidden`."""
    if name not in lists:
        have = ", ".join(sorted(set(lists) - set(hidden))) or "none"
        raise NoSuchList(
            f"{where}: no list for split {name!r}; there are: {have}"
            + ("" if lists else " (a split is a file NAME.txt with one photo a line)")
        )
    return lists[name]
