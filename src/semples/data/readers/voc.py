"""Reader of the PASCAL VOC layout.

    JPEGImages/                 the photos
    ImageSets/Segmentation/     lists, one photo a line (ImageSets/Main is looked into as well)
    Annotations/                one XML file a photo: its tags are the names of its objects
    cls_labels.npy              or: tags as published with weakly supervised programs (`data.class_labels`)
    SegmentationClassAug/       masks, optional; else SegmentationClass/
    classes.txt                 optional: other classes than VOC's 20, `name` or `name,prompt word` a line

The folder may be this one, its parent (VOCdevkit) or the parent of that. Lists (`train_aug_id.txt`) and cls_labels.npy
may also lie in a folder voc12 in any of these three, as published programs have them. A list may be named by its file,
which may lie anywhere. A line of a list is a photo's name, with or
without a second column; lists of the form `/JPEGImages/x.jpg /SegmentationClassAug/x.png` are read too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from semples.core.errors import UserError
from semples.core.files import SpecialFile, read_file
from semples.core.plain import is_utf8
from semples.data.class_labels import ClassLabels
from semples.data.dataset import VOC_CLASSES, ClassList, FileDataset, Item, Problem, class_list, safe_relative
from semples.data.listfile import given_list, list_of, named_lists
from semples.data.listing import mask_files, not_utf8
from semples.data.readers.folder import unknown_tag
from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.tagfile import read_table
from semples.data.text import nfc, read_text

DEFAULT_SPLITS = ("train_aug", "trainaug", "train")
LIST_FOLDERS = ("ImageSets/Segmentation", "ImageSets/Main")
MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
LABELS = "cls_labels.npy"
COMPANION = "voc12"
MAX_XML_BYTES = 10_000_000


def recognises(root: Path) -> bool:
    """Whether the folder, or a VOC folder in it, has this layout."""
    return _voc_folder(root) is not None


def read(
    root: Path, *, split: str | None, tags: Path | None, classes: ClassList | None, max_megapixels: float
) -> FileDataset:
    """List the photos of a VOC folder; without `split` train_aug, trainaug or train, else all. Raises UserError."""
    folder = _voc_folder(root)
    if folder is None:
        raise UserError(f"{root}: not the VOC layout; it needs JPEGImages with ImageSets or Annotations")
    beside = _companions(root, folder)
    problems: list[Problem] = []
    photos = _photos(folder, problems)
    published = next((path / LABELS for path in (folder, *beside) if (path / LABELS).is_file()), None)
    labels = tags if tags is not None and tags.suffix.casefold() == ".npy" else published
    if classes is None:
        classes = _classes(folder, labels if tags is not None else published, photos)
    entries, split = _entries(folder, beside, split, photos, classes)
    tags_of = _tag_source(folder, tags, published, classes, photos)
    masks = {name: _masks(folder / name) for name in MASK_FOLDERS}
    index = {name: number for number, name in enumerate(classes.names)}
    items: dict[str, Item] = {}
    for entry in entries:
        photo = photos.get(entry.id)
        if photo is None:
            problems.append(Problem(entry.where, f"{entry.id[:120]}: no such photo in JPEGImages"))
            continue
        if entry.id in items:
            problems.append(Problem(entry.where, f"{entry.id}: named twice; used once"))
            continue
        try:
            names = tags_of(entry.id)
        except _Unusable as reason:
            problems.append(Problem(entry.id, str(reason)))
            continue
        unknown = [name for name in names if name not in index]
        if unknown:
            problems.append(Problem(entry.id, unknown_tag(unknown[0], classes)))
            continue
        mask = next((folder / name / masks[name][entry.id] for name in MASK_FOLDERS if entry.id in masks[name]), None)
        items[entry.id] = Item(entry.id, photo, tuple(sorted({index[name] for name in names})), mask)
    name = folder.resolve().name + (f"/{split}" if split else "")
    return FileDataset(name, folder, classes, tuple(items.values()), tuple(problems), max_megapixels)


class _Unusable(Exception):
    """A photo has no usable tags; the message is the reason."""


@dataclass(frozen=True)
class _Entry:
    """A line of a list: where it stands and the photo's name without folder and extension."""

    where: str
    id: str


def _voc_folder(root: Path) -> Path | None:
    below = [path for pattern in ("VOC20*", "*/VOC20*") for path in sorted(root.glob(pattern), reverse=True)]
    for folder in (root, *below):
        if (folder / "JPEGImages").is_dir() and (
            (folder / "ImageSets").is_dir()
            or (folder / "Annotations").is_dir()
            or any((path / LABELS).is_file() for path in (folder, *_companions(root, folder)))
        ):
            return folder
    return None


def _companions(root: Path, folder: Path) -> list[Path]:
    """Folders voc12 with lists and tags, between the VOC folder and the folder given; nearest first."""
    between = [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)]
    return [path for base in between for path in (base / COMPANION, base) if path != folder and path.is_dir()]


def _classes(folder: Path, labels: Path | None, photos: dict[str, Path]) -> ClassList:
    """classes.txt; else VOC's 20, or COCO's where the published tags have as many numbers and nothing else tells."""
    if (folder / "classes.txt").is_file():
        return class_list(folder / "classes.txt")
    if labels is None or (folder / "Annotations").is_dir():
        return VOC_CLASSES
    return ClassLabels.read(labels, photos).classes() or VOC_CLASSES


def _names(folder: Path) -> dict[str, str]:
    """Names of photo files by their name without suffix, the first in order of name."""
    files = (path.name for path in folder.iterdir() if path.suffix.casefold() in PHOTO_SUFFIXES and path.is_file())
    names = sorted(name for name in files if is_utf8(name) and not name.startswith("."))
    return {nfc(Path(name).stem): name for name in reversed(names)}


def _masks(folder: Path) -> dict[str, str]:
    """Mask files, flat or in numbered folders (`core.places`), by their name without suffix; empty without folder."""
    files = mask_files(folder) if folder.is_dir() else {}
    return {Path(name).stem: path for name, path in reversed(files.items()) if "/" not in name}


def _photos(folder: Path, problems: list[Problem]) -> dict[str, Path]:
    """Photo files by id; of two with the same name the first in order of name counts (a.jpg before a.png)."""
    names = _names(folder / "JPEGImages")
    for path in sorted((folder / "JPEGImages").iterdir()):
        if not is_utf8(path.name):
            if path.suffix.casefold() in PHOTO_SUFFIXES:
                problems.append(not_utf8(f"JPEGImages/{path.name}"))
            continue
        stem = nfc(path.stem)
        if path.suffix.casefold() not in PHOTO_SUFFIXES or path.name.startswith("."):
            continue
        if not is_utf8(path.name) or not path.is_file():
            what = "its name is not UTF-8; rename it" if path.is_file() else "not a regular file"
            problems.append(Problem(f"JPEGImages/{path.name}", f"set aside: {what}"))
        elif names.get(stem, path.name) != path.name:
            problems.append(Problem(f"JPEGImages/{path.name}", f"set aside; {names[stem]} has the same name"))
    return {stem: folder / "JPEGImages" / names[stem] for stem in sorted(names)}


# ------------------------------------------------------------------------------------------------------- lists


def _entries(
    folder: Path, beside: list[Path], split: str | None, photos: dict[str, Path], classes: ClassList
) -> tuple[list[_Entry], str | None]:
    """The photos of a split, and the split's name (None: all photos)."""
    path = given_list(split)
    if path is None:
        lists = named_lists([*(folder / name for name in LIST_FOLDERS), *beside])
        if split is None:
            split = next((name for name in DEFAULT_SPLITS if name in lists), None)
            if split is None:
                return [_Entry(f"JPEGImages/{path.name}", photo_id) for photo_id, path in photos.items()], None
        # Main holds lists such as aeroplane_train.txt, too: one class's presence, no splits.
        single = (
            name
            for name, path in lists.items()
            if path.parent.name == "Main" and name.rpartition("_")[0] in classes.names
        )
        path = list_of(split, lists, where=folder, hidden=single)
    split = path.stem
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            whole = nfc(line)  # a name may hold blanks; else the first column is the photo
            name = whole if whole in photos else nfc(_photo_id(line.split()[0]))
            entries.append(_Entry(f"{split}.txt, line {number}", name))
    if not entries:
        raise UserError(f"{path}: the list is empty")
    return entries, split


def _photo_id(name: str) -> str:
    """`2007_000032`, `2007_000032.jpg` and `/JPEGImages/2007_000032.jpg` all name the photo 2007_000032."""
    path = safe_relative(name.lstrip("/"))
    if path is None:
        return name
    last = path.name
    return path.stem if path.suffix.casefold() in PHOTO_SUFFIXES else last


# -------------------------------------------------------------------------------------------------------- tags


def _tag_source(
    folder: Path, tags: Path | None, published: Path | None, classes: ClassList, photos: dict[str, Path]
) -> Callable[[str], tuple[str, ...]]:
    """A function from a photo's id to its tag names: the file given, else the annotations, else cls_labels.npy."""
    if tags is not None:
        return _from_npy(tags, classes, photos) if tags.suffix.casefold() == ".npy" else _from_table(tags)
    if (folder / "Annotations").is_dir():
        fallback = _from_npy(published, classes, photos) if published is not None else None
        return lambda photo_id: _from_xml(folder / "Annotations" / f"{photo_id}.xml", fallback, photo_id)
    if published is not None:
        return _from_npy(published, classes, photos)
    raise UserError(f"{folder}: no tags; it needs Annotations/*.xml or {LABELS}, or name a tags file")


def _from_xml(path: Path, fallback: Callable[[str], tuple[str, ...]] | None, photo_id: str) -> tuple[str, ...]:
    if path.is_file():
        return tuple(dict.fromkeys(object_names(path)))
    if fallback is not None:
        return fallback(photo_id)
    raise _Unusable(f"no tags: there is no Annotations/{path.name}")


def _from_npy(path: Path, classes: ClassList, photos: dict[str, Path]) -> Callable[[str], tuple[str, ...]]:
    labels = ClassLabels.read(path, photos)

    def tags_of(photo_id: str) -> tuple[str, ...]:
        row = labels.of(photo_id, width=len(classes))
        if row is None:
            raise _Unusable(f"no tags: {path.name} does not name it (its keys look like {labels.example()!r})")
        return tuple(name for name, shown in zip(classes.names, row, strict=True) if shown)

    return tags_of


def _from_table(path: Path) -> Callable[[str], tuple[str, ...]]:
    rows: dict[str, tuple[str, ...]] = {}
    for row in read_table(path).rows:
        photo_id = nfc(_photo_id(row.photo))
        rows[photo_id] = tuple(dict.fromkeys(rows.get(photo_id, ()) + row.tags))

    def tags_of(photo_id: str) -> tuple[str, ...]:
        if photo_id not in rows:
            raise _Unusable(f"no tags: {path.name} does not name it")
        return rows[photo_id]

    return tags_of


def object_names(path: Path) -> list[str]:
    """Names of the objects in a VOC annotation, in file order; parts (a head, a hand) are not objects.

    A file that declares a document type is refused unread: entities, which such a declaration brings, can blow a small
    file up to gigabytes or pull in other files.
    """
    names: list[str] = []
    open_tags: list[str] = []

    def start(tag: str, _: dict[str, str]) -> None:
        open_tags.append(tag)
        if open_tags == ["annotation", "object", "name"]:
            names.append("")

    def end(_: str) -> None:
        open_tags.pop()

    def text(data: str) -> None:
        if open_tags == ["annotation", "object", "name"]:
            names[-1] += data

    def refuse(*_: object) -> None:
        raise _Unusable(f"Annotations/{path.name}: refused, it declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise _Unusable(f"Annotations/{path.name}: refused, larger than {MAX_XML_BYTES} bytes")
        parser.Parse(read_file(path), True)
    except SpecialFile as error:
        raise _Unusable(str(error)) from None
    except (expat.ExpatError, OSError, ValueError, LookupError) as error:
        raise _Unusable(f"Annotations/{path.name}: not readable as XML: {error}") from None
    return [nfc(name) for name in names]
