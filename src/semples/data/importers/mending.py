"""Masks that people have mended, read from what their program saved: annotations of any known format, or pictures.

Annotations are read by the importers. Pictures (PNG, TIFF, BMP, GIF, `.npy`) hold class values, or the colours of the
label maps (the palette of PASCAL VOC), as paint programs leave them however they store colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import check_regular
from semples.core.palette import voc_palette
from semples.core.places import without_number
from semples.data.classes import ClassList
from semples.data.importers.annotations import NAMES, some
from semples.data.importers.archive import is_archive, unpacked
from semples.data.importers.base import Importer, Source
from semples.data.importers.class_masks import told_photos
from semples.data.importers.importing import choose_importer, without_background
from semples.data.importers.masks import IGNORE, labels_of
from semples.data.importers.merging import Merged, Photo, merge
from semples.data.importers.registry import IMPORTERS
from semples.data.listing import CONFIDENCE, Listing, files_below
from semples.data.names import PhotoFinder, stem
from semples.data.outlines import OutlineError
from semples.data.photos import PhotoError, probe, read_colours, read_mask
from semples.data.problem import Problem
from semples.data.suffixes import MASK_SUFFIXES

LOSSY = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".heic"})
WEIGHTS = np.array([1, 256, 65536])  # a colour as one number


@dataclass(frozen=True)
class Mended:
    """A photo's labels, uint8 (H,W) of its size: 0 background, class k as k + 1, 255 not known.

    photo: its name among those given. where: the file. exact: whether every pixel is meant; polygons round them.
    """

    photo: str
    labels: NDArray[np.uint8]
    where: str
    exact: bool


@dataclass
class _RunSource(Source):
    """Annotations of photos that are known already."""

    known: tuple[str, ...] = ()

    @property
    def listing(self) -> Listing:  # type: ignore[override]
        """The known photos; nothing is looked for."""
        return Listing(self.known, ())


def read_mended(
    path: Path,
    photos: Mapping[str, Path],
    classes: ClassList,
    *,
    root: Path,
    scratch: Path,
    format: str | None = None,
    problems: list[Problem],
) -> Iterator[Mended]:
    """The masks in a file, a folder or an archive, of `photos` (their files by path below a folder), one by one.

    root: the photos' folder. scratch: a folder beside which archives are unpacked. format: an importer's name where
    several fit. What cannot be used goes to `problems`. Raises UserError where nothing there is a mask.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.is_dir():
        check_regular(path)
    if path.suffix.casefold() in LOSSY and path.is_file():
        raise UserError(f"{path}: this format blurs the values of a mask; save it as PNG")
    with ExitStack() as stack:
        inner = stack.enter_context(unpacked(path, scratch)) if is_archive(path) else path
        source = _RunSource(inner, root, known=tuple(photos))
        if format is None and _are_pictures(source):
            yield from _pictures(inner, photos, classes, problems)
            return
        try:
            _, importer, _ = choose_importer(source, format)
            entries = _merged(importer, source, problems, tuple(photos), classes)
        except UserError as error:
            raise UserError(str(error).replace(str(inner), str(path))) from None
        for photo in entries.photos:
            labels = _outlined(photo, photos[photo.path], classes, problems)
            if labels is not None:
                exact = not any(isinstance(thing.outline, list) for thing in photo.things)
                yield Mended(photo.path, labels, f"{path.name}: {photo.where}", exact)


def _are_pictures(source: Source) -> bool:
    """Whether there are pictures and nothing that an importer of annotations knows."""
    if source.path.is_file():
        return source.path.suffix.casefold() in MASK_SUFFIXES
    if not files_below(source.path, MASK_SUFFIXES):
        return False
    return not any(IMPORTERS.load(name)().recognises(source) for name in IMPORTERS if name != "folders")


# ------------------------------------------------------------------------------------------------------- annotations


def _merged(
    importer: Importer, source: Source, problems: list[Problem], photos: Sequence[str], classes: ClassList
) -> Merged:
    """What annotations say of the photos, without things called background."""
    told = importer.read(source)
    names = told_photos(source.root / NAMES)
    entries = [
        replace(entry, photo=names[name]) if (name := stem(entry.photo.rpartition("/")[2])) in names else entry
        for entry in told.entries
        if not entry.unseen  # nobody has mended it
    ]
    merged = merge(entries, photos, background=False)
    without_background(told.classes or classes.names, merged)
    problems += [*told.problems, *merged.problems]
    return merged


def _outlined(photo: Photo, path: Path, classes: ClassList, problems: list[Problem]) -> NDArray[np.uint8] | None:
    numbers = {name: number for number, name in enumerate(classes.names, start=1)}
    strange = [name for name in photo.tags if name not in numbers]
    if strange:
        what = f"{strange[0][:60]!r} is no class of this run ({some(list(classes.names))}); rename it there"
        problems.append(Problem(photo.where, f"{photo.path}: not taken; {what}"))
        return None
    try:
        labels = labels_of(photo, path, numbers)
    except (OutlineError, PhotoError) as reason:
        problems.append(Problem(photo.where, f"{photo.path}: not taken; {reason}"))
        return None
    if labels is None:
        problems.append(Problem(photo.where, f"{photo.path}: not taken; it has no outlines, and no mask"))
    return labels


# ---------------------------------------------------------------------------------------------------------- pictures


def _pictures(path: Path, photos: Mapping[str, Path], classes: ClassList, problems: list[Problem]) -> Iterator[Mended]:
    """Pictures by the photos whose paths or names they bear; two of one photo are named, and neither is taken."""
    below = [path.name] if path.is_file() else files_below(path, MASK_SUFFIXES)
    root = path.parent if path.is_file() else path
    names = told_photos(root / NAMES)
    finder = PhotoFinder(photos)
    meant: dict[str, list[str]] = {}
    for name in below:
        if name.startswith(f"{CONFIDENCE}/"):
            continue
        told = names.get(stem(name).rpartition("/")[2], stem(without_number(root, name)))
        match = finder.match(told)
        if match.path is None:
            problems.append(Problem(name, match.why_not(told, hint="write more of its path")))
        else:
            meant.setdefault(match.path, []).append(name)
    for photo, files in meant.items():
        if len(files) > 1:
            problems.append(Problem(files[0], f"{photo}: not taken; {files[1]} is a mask of it too"))
            continue
        try:
            labels = painted_labels(root / files[0], size=probe(photos[photo]), num_classes=len(classes))
        except PhotoError as reason:
            problems.append(Problem(files[0], f"{photo}: not taken; {reason}"))
            continue
        yield Mended(photo, labels, files[0], exact=True)


def painted_labels(path: Path, *, size: tuple[int, int], num_classes: int) -> NDArray[np.uint8]:
    """Labels (H,W) uint8 of a picture of `size` (width, height), for K classes.

    Grey values are class values; colours are those of the label maps, in whatever order a palette has them; a palette
    of other colours counts by its numbers. Raises PhotoError: another size, or a value or colour that is no class.
    """
    if path.suffix.casefold() == ".npy":
        values = read_mask(path, size=size)
        return _checked(path, values, num_classes)
    colours = read_colours(path)
    if colours.shape[:2] != (size[1], size[0]):
        raise PhotoError(
            f"{path}: {colours.shape[1]}x{colours.shape[0]} pixels, but the photo has {size[0]}x{size[1]}; save the "
            "mask at the photo's size"
        )
    grey = (colours == colours[..., :1]).all()
    if grey and _are_labels(colours[..., 0], num_classes):
        return np.ascontiguousarray(colours[..., 0])
    codes: NDArray[np.int64] = colours.astype(np.int64) @ WEIGHTS
    known = {int(code): label for label, code in enumerate(voc_palette().astype(np.int64) @ WEIGHTS)}
    used, places = np.unique(codes, return_inverse=True)
    labels = [known.get(int(code), num_classes + 1) for code in used]
    wrong = [place for place, label in enumerate(labels) if num_classes < label != IGNORE]
    if not wrong:
        return np.array(labels, np.uint8)[places.reshape(codes.shape)]
    try:
        numbers = read_mask(path)
        if _are_labels(numbers, num_classes):
            return numbers
    except PhotoError:
        pass  # in colours alone
    code, pixels = int(used[wrong[0]]), int((codes == used[wrong[0]]).sum())
    colour = (code & 255, code >> 8 & 255, code >> 16)
    raise PhotoError(
        f"{path}: the colour {colour} ({pixels} pixels) is no class's; paint with the colours of the label maps and "
        "without smoothing (anti-aliasing)"
    )


def _are_labels(values: NDArray[np.uint8], num_classes: int) -> bool:
    return not ((values > num_classes) & (values != IGNORE)).any()


def _checked(path: Path, values: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    if not _are_labels(values, num_classes):
        strange = int(values[(values > num_classes) & (values != IGNORE)][0])
        raise PhotoError(f"{path}: holds the value {strange}, but there are {num_classes} classes")
    return values
