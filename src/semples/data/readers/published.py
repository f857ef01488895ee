"""Reader of photos with published class labels: MS COCO as weakly supervised programs have it on disk.

    train2014/, val2014/                     the photos, here or in any folder (images/, JPEGImages/, coco/, ...)
    cls_labels.npy                           tags (`data.class_labels`); also class_labels, class_labels.npy
    train_1250_id.txt, val_5000.txt, ...     lists, one photo a line
    mask/, masks/, SegmentationClass/, class_labels/, ...   masks with the photos' names or COCO's numbers, optional
    classes.txt                              optional: the classes in order, `name` or `name,prompt word` a line

Labels and lists lie beside the photos, in `coco`, in `voc_format` or in `coco/voc_format`. Without classes.txt a row of
80 or 90 numbers means COCO's classes (20: VOC's). Masks come with COCO's own 91 numbers (0 to 90) or with 81; which it
is, their values and the photos' tags tell, and the class list follows: 90 classes under COCO's own numbers, or 80.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.data.class_labels import ClassLabels, numbers_of, plain_name
from semples.data.coco_classes import CATEGORIES, COCO_CLASSES, PUBLISHED_COCO_CLASSES, WITHOUT_INSTANCES
from semples.data.dataset import ClassList, FileDataset, Item, PhotoError, Problem, class_list
from semples.data.listfile import given_list, list_of, named_lists
from semples.data.listing import CONFIDENCE, list_photos
from semples.data.names import PhotoFinder, unique_ids
from semples.data.photos import read_mask
from semples.data.suffixes import MASK_SUFFIXES
from semples.data.text import nfc, read_text

LABELS = ("cls_labels.npy", "class_labels.npy", "class_labels")
BESIDE = ("", "coco", "voc_format", "coco/voc_format", "MSCOCO", "mscoco")
MASK_FOLDERS = frozenset(
    {"mask", "masks", "annotations", "labels", "voc_format", "segmentations", "segmentationclass", "class_labels"}
    | {"segmentationclassaug"}
)
INSTANCE_FOLDERS = frozenset({"instance_labels", "segmentationobject"})  # neither photos nor masks of classes
APART = ("SegmentationClassAug", "SegmentationClass", "masks")  # folders of masks; in the first a mask counts
DEFAULT_SPLITS = ("train", "train_1250")
LOOKED_AT = 48  # masks whose values are compared with tags
COCO_WIDTHS = (len(COCO_CLASSES), len(PUBLISHED_COCO_CLASSES))
CONTIGUOUS = tuple(number for number in CATEGORIES if number not in WITHOUT_INSTANCES)  # COCO's number of each of 80


def recognises(root: Path) -> bool:
    """Whether the folder holds published class labels, or COCO's masks as converters write them."""
    return _labels_file(root) is not None or _converted(root) is not None


def read(
    root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
) -> FileDataset:
    """List the photos that a list names, without `split` those of train, else all. Raises UserError."""
    path = tags or _labels_file(root)
    if path is None:
        raise UserError(
            f"{root}: no tags; put {LABELS[0]} beside the photos or into {root / 'coco'}, or make them from COCO's own "
            f"annotations: semples data coco OUT --from {root}"
        )
    listing = list_photos(root)
    files = [*listing.photos, *(path for name in APART for path in listing.masks if path.startswith(f"{name}/"))]
    photos = [name for name in files if not _is_of_masks(name)]
    finder, ids = PhotoFinder(photos), unique_ids(photos)
    by_stem: dict[str, list[str]] = {}
    for name in photos:
        for key in {_stem(name), *(f"#{number}" for number in numbers_of(_stem(name))[-1:])}:
            by_stem.setdefault(key, []).append(name)
    problems = list(listing.problems)
    chosen, split = _listed(root, split, finder, by_stem, problems)
    masks = _masks(files, photos)
    labels = ClassLabels.read(path, ids.values())
    width = labels.width
    if classes is None and (root / "classes.txt").is_file():
        classes = class_list(root / "classes.txt")
    shown: dict[str, NDArray[np.bool_]] = {}
    for name in list(chosen):
        row = labels.of(ids[name], width=len(classes) if classes is not None else width)
        if row is None:
            what = f"no tags: {path.name} does not name it (its keys look like {labels.example()!r})"
            problems.append(Problem(ids[name], what))
        else:
            shown[name] = row
    if classes is None:
        classes, shown = _classes(path, width, shown, {name: root / mask for name, mask in masks.items()})
    items = tuple(
        Item(
            ids[name],
            root / name,
            tuple(int(label) for label in np.flatnonzero(row)),
            root / masks[name] if name in masks else None,
        )
        for name, row in shown.items()
    )
    title = root.resolve().name + (f"/{split}" if split else "")
    return FileDataset(title, root, classes, items, tuple(problems), max_megapixels)


def _labels_file(root: Path) -> Path | None:
    return next(
        (root / folder / name for folder in BESIDE for name in LABELS if (root / folder / name).is_file()), None
    )


def _converted(root: Path) -> Path | None:
    """COCO's masks in a folder class_labels, as converters to VOC's form write them."""
    return next(
        (root / folder / "class_labels" for folder in BESIDE if (root / folder / "class_labels").is_dir()), None
    )


def _masks(files: Sequence[str], photos: Sequence[str]) -> dict[str, str]:
    """The mask of each photo: of the same name, else one whose name is COCO's number alone; the first in order."""
    by_stem = {
        _stem(name): name
        for name in reversed(files)
        if _is_of_masks(name)
        and not _is_of_instances(name)
        and CONFIDENCE not in _folders(name)
        and _suffix(name) in MASK_SUFFIXES
    }
    photo_stems = {_stem(photo) for photo in photos}
    numbered = {int(stem): name for stem, name in by_stem.items() if stem.isdecimal() and stem not in photo_stems}
    chosen = {}
    for photo in photos:
        numbers = numbers_of(_stem(photo))
        mask = by_stem.get(_stem(photo)) or (numbered.get(numbers[-1]) if numbers else None)
        if mask is not None:
            chosen[photo] = mask
    return chosen


def _is_of_masks(path: str) -> bool:
    """Whether a file lies in a folder of masks: no photo."""
    return not MASK_FOLDERS.isdisjoint(_folders(path)) or _is_of_instances(path)


def _is_of_instances(path: str) -> bool:
    return not INSTANCE_FOLDERS.isdisjoint(_folders(path))


def _folders(path: str) -> list[str]:
    return path.casefold().split("/")[:-1]


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(nfc(path)))[0]


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].casefold()


def _listed(
    root: Path, split: str | None, finder: PhotoFinder, by_stem: dict[str, list[str]], problems: list[Problem]
) -> tuple[list[str], str | None]:
    """Photos of a list, each once, and the list's name; all photos where there is no list for training."""
    file = given_list(split)
    if file is None:
        lists = named_lists([root / folder for folder in BESIDE] + [root / "splits"])
        if split is None:
            split = next((name for name in DEFAULT_SPLITS if name in lists), None)
            if split is None:
                return list(finder.paths), None
        file = list_of(split, lists, where=root)
    chosen: dict[str, None] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        photo = finder.match(nfc(line.strip())).path
        if photo is None:  # `x`, `x 1`, `/train2014/x.jpg /mask/train2014/x.png`
            stems = [posixpath.basename(plain_name(text)) for text in (line.strip(), line.split()[0])]
            stems += [f"#{int(stem)}" for stem in stems if stem.isdecimal()]  # COCO's number alone
            photo = next((by_stem[stem][0] for stem in stems if len(by_stem.get(stem, ())) == 1), None)
        if photo is None:
            problems.append(Problem(f"{file.name}, line {number}", f"{line.strip()[:120]}: no such photo"))
        elif photo in chosen:
            problems.append(Problem(f"{file.name}, line {number}", f"{line.strip()[:120]}: named twice; used once"))
        else:
            chosen[photo] = None
    if not chosen and not problems:
        raise UserError(f"{file}: the list is empty")
    return list(chosen), file.stem


# --------------------------------------------------------------------------------------------- COCO's two numberings


def _classes(
    path: Path, width: int, shown: dict[str, NDArray[np.bool_]], masks: dict[str, Path]
) -> tuple[ClassList, dict[str, NDArray[np.bool_]]]:
    """The class list that rows and masks ask for, and the rows under it."""
    if width not in COCO_WIDTHS:
        known = ClassLabels.read(path, ()).classes()
        if known is None:
            raise UserError(
                f"{path}: rows of {width} numbers, and nothing names the classes; write them in classes.txt"
            )
        return known, shown
    published = masks_are_published(shown, masks, wide=width == len(PUBLISHED_COCO_CLASSES))
    classes = PUBLISHED_COCO_CLASSES if published else COCO_CLASSES
    if len(classes) == width:
        return classes, shown
    columns = np.array(CONTIGUOUS) - 1
    if not published:
        return classes, {name: row[columns] for name, row in shown.items()}
    spread = {}
    for name, row in shown.items():
        spread[name] = np.zeros(len(classes), bool)
        spread[name][columns] = row
    return classes, spread


def masks_are_published(shown: dict[str, NDArray[np.bool_]], masks: dict[str, Path], *, wide: bool) -> bool:
    """Whether masks have COCO's own numbers 1 to 90, not 1 to 80: the numbering under which they fit the tags better.

    `wide`: rows have 90 numbers; also the answer where masks do not tell (none there, or only classes up to 11, whose
    numbers are the same).
    """
    named = [name for name in shown if name in masks]
    votes = 0
    for name in named[:: max(1, len(named) // LOOKED_AT)]:
        try:
            values = set(np.unique(read_mask(masks[name])).tolist()) - {0, 255}
        except PhotoError:
            continue
        classes = _numbers(shown[name], wide=wide)
        if values and max(values) > len(COCO_CLASSES):
            return True
        votes += len(values & {CONTIGUOUS[label] for label in classes}) - len(values & {label + 1 for label in classes})
    return votes > 0 if votes else wide


def _numbers(row: NDArray[np.bool_], *, wide: bool) -> Sequence[int]:
    """Which of the 80 classes in a row (0-based) a photo shows."""
    if not wide:
        return [int(label) for label in np.flatnonzero(row)]
    return [CONTIGUOUS.index(label + 1) for label in np.flatnonzero(row) if label + 1 in CONTIGUOUS]
