"""Photos in folders named by class, below train/, val/ and the like or not."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from semples.core.errors import UserError
from semples.data.hints import same_content
from semples.data.importers.annotations import Annotations, Entry, Thing, clean, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.layout import is_layout
from semples.data.listing import names_masks


class Folders(Importer):
    """The first folder that is none of a known layout (train, images, JPEGImages, ...) is the class."""

    about = "photos in folders named by class"

    def recognises(self, source: Source) -> bool:
        if not source.path.is_dir() or source.listing.masks:  # photos and masks: folders are parts or places
            return False
        return len(set(_tags(source).values())) > 1

    def read(self, source: Source) -> Annotations:
        tags = _tags(source)
        counts = Counter(tags.values())
        if not counts:
            raise UserError(_no_class(source))
        entries: list[Entry] = []
        known = {source.photo_root / photo: photo for photo in tags}
        extra: dict[str, list[str]] = {}
        twins: dict[str, str] = {}
        for group in same_content(known):
            kept, *others = (known[path] for path in group)
            if len({tags[name] for name in (kept, *others)}) > 1:
                extra[kept] = [tags[name] for name in others]
                twins |= dict.fromkeys(others, kept)
        for photo, tag in tags.items():
            if photo in twins:
                fault = f"the same photo as {twins[photo]}, which gets the tags of both"
                entries.append(Entry(photo, photo, fault=fault))
                continue
            names = dict.fromkeys([tag, *extra.get(photo, [])])
            entries.append(Entry(photo, photo, tuple(Thing(name, whole=True) for name in names)))
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())[:20])
        more = f" and {len(counts) - 20} more" if len(counts) > 20 else ""
        notes = (f"classes are the names of the photos' folders: {shown}{more}",)
        return Annotations((), tuple(entries), (), notes)


def _tags(source: Source) -> dict[str, str]:
    """The class of each photo in a folder named by one; photos in `mask/` are no masks (`list_import`)."""
    tags = {}
    for photo in source.photos:
        name = next(
            (part for part in PurePosixPath(photo).parts[:-1] if not is_layout(part) or names_masks(part)), None
        )
        if name is not None and clean(name):
            tags[photo] = clean(name)
    return tags


def why_no_classes(source: Source) -> str:
    """What to say of a folder without annotations whose folders name no classes."""
    tags = {} if source.listing.masks else _tags(source)
    if len(set(tags.values())) == 1:
        only = next(iter(tags.values()))
        return (
            f"{source.path}: no annotations, and all photos that lie in a folder lie in {only!r} alone: is that a "
            "class? then say --format folders; else name the annotations"
        )
    return _no_class(source)


def _no_class(source: Source) -> str:
    folders = sorted({PurePosixPath(photo).parent.as_posix() for photo in source.photos} - {"."})
    named = bool(source.listing.masks) and bool(_tags(source))
    masks = sorted({PurePosixPath(path).parent.as_posix() for path in source.listing.masks})
    if not source.photos:
        return f"{source.photo_root}: no photo is there"
    what = "may name no classes" if named else "names no class"
    where = f" (they lie in {some(folders)}, which {what})" if folders else ""
    beside = f"; masks lie in {some(masks)}, without a list of their classes" if masks else ""
    return (
        f"{source.path}: photos{where}, but no annotations{beside}; give a tags.csv with `photo,tags`, the annotations "
        f"of another program, or folders named by class{' (--format folders, if these are)' if named else ''}"
    )
