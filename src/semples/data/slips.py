"""Likely slips in a folder of photos: files that are passed over, masks and tags that mean something else here."""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from semples.core.places import NUMBERED, without_number
from semples.data.dataset import TaggedDataset
from semples.data.listing import CONFIDENCE, MASK_FOLDERS, list_photos, names_masks
from semples.data.names import shorter, stem
from semples.data.pictures import reads_heic
from semples.data.problem import Problem
from semples.data.suffixes import HEIC_SUFFIXES, MASK_SUFFIXES
from semples.data.text import nfc

BACKGROUND = frozenset({"background", "bg", "__background__", "_background_", "back ground", "unlabeled", "unlabelled",
                        "void", "ignore", "__ignore__", "no object", "nothing"})  # fmt: skip
MANIFEST = "manifest.json"  # of a step of a run, beside its files
NAMED = 20  # files of one kind that are named one by one
LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif"})
_NO_MASKS = frozenset({"", ".txt", ".md", ".csv", ".db", ".ini", ".html", ".yaml", ".yml", ".log"})


def slips(dataset: TaggedDataset, values: Iterable[frozenset[int]]) -> tuple[Problem, ...]:
    """What is likely not meant. `values`: the values of every mask that was read."""
    root = dataset.root
    return (
        *getattr(dataset, "notes", ()),
        *odd_names(dataset.classes.names),
        *_black_and_white(list(values)),
        *(_mask_files(root, {item.mask for item in dataset.items if item.mask}) if root.is_dir() else ()),
        *(_heic(root) if root.is_dir() else ()),
    )


def odd_names(names: Sequence[str]) -> list[Problem]:
    """Names that are likely no classes: background, several tags parted by blanks, numbers."""
    known = set(names)
    problems = []
    for name in names:
        if name.casefold() in BACKGROUND:
            what = "is no class to learn: what no class covers is background already (label 0); remove the tag"
            problems.append(Problem(name, f"{what}, a photo of background only has a row without tags"))
        words = name.split()
        if len(words) > 1 and all(word in known for word in words):
            what = f"one class, or the tags {', '.join(words)} parted by blanks? Several tags are parted by ;"
            problems.append(Problem(name, what))
    if len(names) > 1 and all(name.isdigit() for name in names):
        what = "classes are numbers, which say nothing to CLIP; write words, or `number,word` a line in classes.txt"
        problems.append(Problem(", ".join(names[:5]), what))
    return problems


def _black_and_white(values: Sequence[frozenset[int]]) -> list[Problem]:
    if not any(255 in mask for mask in values) or any(mask - {0, 255} for mask in values):
        return []
    what = (
        f"all {len(values)} hold 0 and 255 alone, black and white: 255 means `not scored` here; "
        "write 1 in place of 255 for the first class (2 for the second, ...), 0 for background"
    )
    return [Problem("masks", what)]


def _mask_files(root: Path, used: Container[Path]) -> list[Problem]:
    """Files in folders of masks that are no masks of any photo; used: those that are."""
    photos = {form for path in list_photos(root).photos for form in _forms(path)}
    problems: list[Problem] = []
    for folder in MASK_FOLDERS:
        if not (root / folder).is_dir():
            continue
        odd = [
            Problem(f"{folder}/{path}", what)
            for path in _meant_as_masks(root / folder)
            if root / folder / path not in used
            and (what := _no_mask(without_number(root / folder, path) or path, photos)) is not None
        ]
        problems += odd[:NAMED]
        if len(odd) > NAMED:
            problems.append(Problem(folder, f"and {len(odd) - NAMED} more such files"))
    for entry in sorted(root.iterdir()):
        if entry.name in MASK_FOLDERS or not names_masks(entry.name) or not entry.is_dir():
            continue
        if entry.name.startswith("SegmentationObject"):
            continue
        names = [without_number(entry, path) or path for path in _files(entry)]
        like = [name for name in names if _forms(name) & photos and stem(name) in photos]
        if like:
            what = f"{len(like)} pictures with the names of photos; masks are looked for in masks/: rename the folder"
            problems.append(Problem(f"{entry.name}/", what))
    return problems


def _meant_as_masks(folder: Path) -> list[str]:
    """Files in a folder of masks; without what a run writes beside its label maps, where these are the masks."""
    paths = _files(folder)
    names = {without_number(folder, path) or path for path in paths}

    def is_beside(path: str) -> bool:
        top, _, rest = path.partition("/")
        if not rest and posixpath.splitext(path)[1].casefold() not in MASK_SUFFIXES:
            return path == NUMBERED or MANIFEST in names
        return top == CONFIDENCE and (without_number(folder / top, rest) or rest) in names

    return [path for path in paths if not is_beside(path)]


def _no_mask(path: str, photos: set[str]) -> str | None:
    """What is wrong with a file in a folder of masks; None: it is a photo's mask, or none that anybody meant as one."""
    suffix = posixpath.splitext(path)[1].casefold()
    if suffix in _NO_MASKS:
        return None
    if suffix in LOSSY:
        return "no mask: such a file does not keep the values of its pixels; save the mask as PNG"
    if suffix not in MASK_SUFFIXES:
        return "no mask that is read; save it as PNG, one value a pixel (0 background, 1 first class, 255 not scored)"
    if {nfc(path), stem(nfc(path))} & photos:
        return None
    name = stem(posixpath.basename(path))
    near = max((photo for photo in photos if name.startswith(posixpath.basename(photo))), key=len, default="")
    hint = f"; if it is that of {near}, name it {posixpath.basename(near)}{suffix}" if near else ""
    return f"a mask that belongs to no photo: masks have their photo's path and name{hint}"


def _forms(path: str) -> set[str]:
    """Names by which a photo's mask may be called, with and without extension."""
    full = nfc(path)
    short = "/".join(shorter(tuple(full.split("/"))))
    return {full, short, stem(full), stem(short)}


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def _heic(root: Path) -> list[Problem]:
    photos = [path for path in list_photos(root).photos if posixpath.splitext(path)[1].casefold() in HEIC_SUFFIXES]
    if not photos:
        return []
    names = ", ".join(photos[:NAMED]) + (", ..." if len(photos) > NAMED else "")
    how = (
        "are read through pillow-heif; save them as JPEG for programs without it"
        if reads_heic()
        else "cannot be read; pip install 'semples[heif]', or save them as JPEG"
    )
    return [Problem("HEIC", f"{len(photos)} photos are HEIC ({names}); they {how}")]
