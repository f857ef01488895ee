"""Which Parquet and Arrow files a folder holds, and the split that each belongs to.

    train.parquet, data/train-00000-of-00004.parquet, train/0000.parquet    the name, or the folder, tells the split
    README.md with `configs`                            as on the hub: patterns of files for each split
    dataset_dict.json, state.json, data-*.arrow         as `save_to_disk` writes them

Scripts that lie there are not looked at, and links are followed as for photos.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from semples.core.cells import SUFFIXES
from semples.core.errors import UserError
from semples.core.files import read_object
from semples.data.card import card
from semples.data.listfile import NoSuchList
from semples.data.listing import files_below
from semples.data.names import SPLITS, split_of

SHARD = re.compile(r"-(\d{5,})-of-(\d{5,})(-[0-9a-f]+)?$")
STATE, DICT = "state.json", "dataset_dict.json"
DEFAULT = "train"


@dataclass(frozen=True)
class Part:
    """A file of a dataset: `below`, its path below the root without the suffix; `split`, "" where nothing tells."""

    path: Path
    below: str
    split: str


def holds_columns(root: Path) -> bool:
    """Whether a folder holds Parquet files, or what `save_to_disk` writes. Opens none of them."""
    return any(path.is_file() for path in (root / STATE, root / DICT)) or next(_parquet(root), None) is not None


def parts_of(root: Path, split: str | None) -> tuple[list[Part], str, bool]:
    """The files of a split, its name, and whether the source has several splits.

    `split` None: train, else all that there is; `CONFIG/SPLIT` where README.md names several configurations. Raises
    UserError, NoSuchList where there is no such split.
    """
    config, _, name = (split or "").rpartition("/")
    parts, several = all_parts(root, config)
    splits = sorted({part.split for part in parts if part.split})
    wanted = SPLITS.get(name, name)
    if split is None:
        wanted = DEFAULT if DEFAULT in splits else ""
    chosen = [part for part in parts if part.split == wanted or (split is None and not wanted)]
    if not chosen:
        raise NoSuchList(f"{root}: no split {split!r}; there are: {', '.join(splits) or 'none'}")
    return chosen, wanted, several


def all_parts(root: Path, config: str | None = None) -> tuple[list[Part], bool]:
    """The files of all splits, and whether these are several. Raises UserError.

    config: one that README.md names, "" for its default; None: README.md is not asked.
    """
    if root.is_file():
        return [Part(root, root.stem, "")], False
    parts = _saved(root) or (_on_hub(root, config) if config is not None else []) or by_name(root)
    if not parts:
        raise UserError(f"{root}: no Parquet file in it (NAME.parquet)")
    return parts, len({part.split for part in parts}) > 1


def missing_shards(parts: Sequence[Part]) -> list[str]:
    """What to say of splits of which files are missing, as `train-00000-of-00004` tells."""
    there: Counter[tuple[str, int]] = Counter()
    for part in parts:
        shard = SHARD.search(part.below)
        if shard:
            there[part.below[: shard.start()], int(shard[2])] += 1
    return [f"{count} of {whole} files {name}-*" for (name, whole), count in there.items() if count < whole]


def _parquet(root: Path) -> Iterator[str]:
    yield from files_below(root, frozenset({SUFFIXES[0]}))


def by_name(root: Path) -> list[Part]:
    """The Parquet files below a folder, each in the split that its name or its folder tells."""
    return [Part(root / path, _shorter(path), _named_split(path)) for path in _parquet(root)]


def _shorter(path: str) -> str:
    return path.removeprefix("data/").rpartition(".")[0]


def _named_split(path: str) -> str:
    """The split that a file's name or its folder tells; "" where neither does."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    bare = SHARD.sub("", stem)
    told = SPLITS.get(bare.casefold()) or split_of(path)
    if told:
        return told
    if bare != stem:
        return bare
    words = re.split(r"[-_. ]", stem.casefold())
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), "")


# ----------------------------------------------------------------------------------------------------- save_to_disk


def _saved(root: Path) -> list[Part]:
    """The files of `save_to_disk`: of one split, or of several in folders of their own."""
    if (root / STATE).is_file():
        return _saved_split(root, "", "")
    listed = read_object(root / DICT).get("splits", []) if (root / DICT).is_file() else []
    names = [name for name in listed if isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name)]
    return [part for name in names for part in _saved_split(root / name, f"{name}/", SPLITS.get(name, name))]


def _saved_split(folder: Path, prefix: str, split: str) -> list[Part]:
    parts = []
    listed = read_object(folder / STATE).get("_data_files", [])
    for entry in listed if isinstance(listed, list) else []:
        name = entry.get("filename") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or "/" in name or "\\" in name or not name.endswith(SUFFIXES[1]):
            raise UserError(f"{folder / STATE}: names {str(name)[:80]!r}, which is no Arrow file beside it")
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file, but {STATE} names it; save the dataset again")
        parts.append(Part(folder / name, f"{prefix}{Path(name).stem}", split))
    if not parts:
        raise UserError(f"{folder / STATE}: names no files; save the dataset again with save_to_disk")
    return parts


# ------------------------------------------------------------------------------------------------------------ the hub


def _on_hub(root: Path, config: str) -> list[Part]:
    """The files that a configuration of README.md names; none where it names none that are there."""
    tree = card(root)
    listed = tree.get("configs") if isinstance(tree, Mapping) else None
    configs = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    if not configs:
        return []
    named = {str(one.get("config_name", "default")): one for one in configs}
    if config and config not in named:
        raise NoSuchList(f"{root}: README.md names no configuration {config!r}; it has {', '.join(named)}")
    chosen = named.get(config) or next((one for one in configs if one.get("default") is True), named.get("default"))
    if chosen is None and len(configs) > 1:
        raise UserError(
            f"{root}: README.md names the configurations {', '.join(list(named)[:8])}; say which with "
            "--split NAME/train (`--set data.split=NAME/train` of a run)"
        )
    files, parts = list(_parquet(root)), {}
    for split, pattern in _patterns((chosen or configs[0]).get("data_files")):
        for path in files:
            if fnmatchcase(path, pattern) or fnmatchcase(path, pattern.replace("**/", "")):
                parts[path] = Part(root / path, _shorter(path), SPLITS.get(split, split))
    return list(parts.values())


def _patterns(told: Any) -> Iterator[tuple[str, str]]:
    """(split, pattern) of `data_files`: a pattern, a list of them, or of {split, path}."""
    for one in told if isinstance(told, list) else [told]:
        if isinstance(one, str):
            yield DEFAULT, one.removeprefix("./")
        elif isinstance(one, Mapping):
            paths = one.get("path")
            for path in paths if isinstance(paths, list) else [paths]:
                if isinstance(path, str):
                    yield str(one.get("split", DEFAULT)), path.removeprefix("./")
