"""Annotations of other programs as a folder that the folder reader reads.

    images/          the photos (hard links where the disk allows it), unless they are in the output folder already
    tags.csv         each annotated photo with its classes (tags.json where a class name holds `,` `;` or `|`)
    classes.txt      the classes, in the annotations' own order, else alphabetical
    masks/           label maps, only of photos on which every thing has an outline
    splits/          lists, where photos lie in folders train, val (valid) or test
    set_aside.csv    photos that are not taken over, each with the reason

No photo's tags are wrong in silence: a photo whose annotation is lost or makes no sense is set aside and named, and the
photos of the folder are those taken over, those set aside and those without an annotation, together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.data.importers.annotations import Annotations, some
from semples.data.importers.archive import is_archive, unpacked
from semples.data.importers.base import Importer, Source
from semples.data.importers.folders import why_no_classes
from semples.data.importers.foreign import advice
from semples.data.importers.masks import write_masks
from semples.data.importers.merging import Merged, merge
from semples.data.importers.registry import IMPORTERS
from semples.data.importers.writing import place_photos, write_set_aside, write_tables
from semples.data.listing import list_photos
from semples.data.open_tags import bare
from semples.data.problem import Problem
from semples.data.readers.folder import TAG_FILES
from semples.data.slips import odd_names

BACKGROUND = "background"
Unlabelled = Literal["set-aside", "background"]


@dataclass(frozen=True)
class ImportResult:
    """What was written: the folder, the format found, how many photos and masks, the classes; and what was not.

    `seen` counts the photos of the photos' folder: `photos` + `set_aside` (photo: reason) + `unlabelled` (photos that
    no annotation names). `told` counts what annotations name, of which `missing` are not there. `problems` name what is
    set aside, not used, or not as written; `notes` tell how files were understood, and likely slips.
    """

    root: Path
    format: str
    photos: int
    masks: int
    classes: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    seen: int
    set_aside: dict[str, str]
    unlabelled: tuple[str, ...]
    told: int
    missing: int


def import_annotations(
    annotations: Path | str,
    out: Path | str,
    *,
    photos: Path | str | None = None,
    format: str | None = None,
    masks: bool = True,
    overwrite: bool = False,
    unlabelled: Unlabelled = "set-aside",
    predictions: bool = False,
) -> ImportResult:
    """Write tags, classes and masks into `out`, and the photos unless they lie there.

    `annotations` is a file, an archive, or a folder of files; `photos` the folder with the photos (default: that of the
    annotations). `format` is a name in `IMPORTERS`; None: recognised by what is there. Of things that overlap, the
    first-listed lies on top. `overwrite` replaces the tags file of `out`. `unlabelled`: photos without an annotation
    are set aside, or show nothing but background, as YOLO has it. `predictions`: take what a model said where nobody
    has annotated. A photo that is not there, a row that makes no sense: listed in the problems. Raises UserError
    where nothing is usable, or `out` has tags already.
    """
    source, target = Path(annotations).expanduser(), Path(out).expanduser()
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if not source.is_file() and not source.is_dir():
        raise UserError(f"{source}: not a regular file or a folder")
    photo_root = None if photos is None else Path(photos).expanduser()
    if photo_root is not None and not photo_root.is_dir():
        raise UserError(f"{photo_root}: no such folder of photos")
    taken = next((target / name for name in TAG_FILES if (target / name).is_file()), None)
    if taken is not None and not overwrite:
        raise UserError(f"{taken}: there are tags already; choose another output folder, or overwrite them")
    if format is not None:
        IMPORTERS.load(format)
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: a file, not a folder; choose another output folder")
    job = _Job(target, format, masks, unlabelled, predictions, taken)
    if not is_archive(source):
        return job.run(source, photo_root)
    with unpacked(source, target) as folder:
        inside = photo_root is None and bool(list_photos(folder).photos)
        return job.run(folder, photo_root or (folder if inside else source.parent), shown=source)


@dataclass(frozen=True)
class _Job:
    """What the user wants of an import."""

    out: Path
    format: str | None
    masks: bool
    unlabelled: Unlabelled
    predictions: bool
    taken: Path | None

    def run(self, path: Path, photo_root: Path | None, *, shown: Path | None = None) -> ImportResult:
        """Read the annotations at `path` (an archive's folder, for which `shown` is named) and write."""
        root = path if path.is_dir() else path.parent
        source = Source(path, photo_root or root, self.predictions, self._inside(root, photo_root or root))
        try:
            name, importer, notes = choose_importer(source, self.format)
            named = importer.photo_root(source) if photo_root is None else None
            if named is not None:
                source = Source(path, named, self.predictions, self._inside(root, named))
            told = importer.read(source)
        except UserError as error:
            if shown is None:
                raise
            raise UserError(str(error).replace(str(path), str(shown))) from None
        merged = merge(told.entries, source.photos, background=self.unlabelled == "background")
        return self._write(source, name, told, merged, notes, shown or path)

    def _inside(self, *roots: Path) -> _Outside:
        return _Outside(self.out, roots)

    def _write(
        self, source: Source, name: str, told: Annotations, merged: Merged, notes: Sequence[str], shown: Path
    ) -> ImportResult:
        problems = [*told.problems, *source.listing.problems, *merged.problems]
        if not [photo for photo in merged.photos if not photo.assumed]:
            raise UserError(_nothing(source, shown, merged, problems))
        tags = {bare(tag, told.classes) for photo in merged.photos for tag in photo.tags}
        names = told.classes or tuple(sorted(tags))
        if not names:
            raise UserError(f"{shown}: names no class")
        names = tuple(tag for tag in names if tag in tags or not odd_names([tag]))
        names, left_out = without_background(names, merged)
        classes = ClassList(names)
        placed = place_photos(merged.photos, source.photo_root, self.out)
        drawn = write_masks(merged.photos, placed, self.out, classes) if self.masks else None
        write_tables(merged.photos, placed, self.out, classes, self.taken)
        write_set_aside(merged, self.out)
        said = [*notes, *told.notes, *left_out, *_slips(source, names)]
        return ImportResult(
            root=self.out,
            format=name,
            photos=len(merged.photos),
            masks=0 if drawn is None else drawn.count,
            classes=names,
            problems=(*problems, *(drawn.problems if drawn is not None else ())),
            notes=tuple(said),
            seen=len(source.photos),
            set_aside=merged.set_aside,
            unlabelled=merged.unlabelled,
            told=len(told.entries),
            missing=merged.missing,
        )


def without_background(names: tuple[str, ...], merged: Merged) -> tuple[tuple[str, ...], list[str]]:
    """The classes without one called background, whose things are left out of all photos; and a note of it."""
    kept = tuple(name for name in names if name.casefold() != BACKGROUND)
    if not kept or len(kept) == len(names):
        return names, []
    for photo in merged.photos:
        photo.things = [thing for thing in photo.things if thing.name.casefold() != BACKGROUND]
        if photo.mask is not None:
            told = {value: "" if name.casefold() == BACKGROUND else name for value, name in photo.mask.names.items()}
            photo.mask = replace(photo.mask, names=told)
    return kept, ["the class background is left out: what no class covers is background already (label 0)"]


class _Outside:
    """Tells paths of the output folder, where that lies within a folder that is read and is not that folder itself."""

    def __init__(self, out: Path, roots: Sequence[Path]) -> None:
        outer, inner = out.resolve(), [root.resolve() for root in roots]
        below = any(outer.is_relative_to(root) for root in inner) and outer not in inner
        self._out = outer if below else None

    def __call__(self, path: Path) -> bool:
        return self._out is not None and path.resolve().is_relative_to(self._out)


def choose_importer(source: Source, wanted: str | None) -> tuple[str, Importer, list[str]]:
    """The reader that is asked for, or the first that recognises the files; and what else they look like."""
    if wanted is not None:
        importer = IMPORTERS.load(wanted)()
        if not importer.recognises(source) and not (wanted == "folders" and source.path.is_dir() and source.photos):
            raise UserError(f"{source.path}: no annotations of the format {wanted} found; known are {_known()}")
        return wanted, importer, []
    fitting = [(name, importer) for name in IMPORTERS if (importer := IMPORTERS.load(name)()).recognises(source)]
    if not fitting:
        known = advice(source)
        if known is not None:
            raise UserError(known)
        if source.path.is_dir() and source.photos:
            raise UserError(why_no_classes(source))
        raise UserError(f"{source.path}: no annotations found; known are {_known()}")
    name, chosen = fitting[0]
    others = [other for other, _ in fitting[1:] if other not in ("folders", "masks")]
    note = f"read as {name}; there are files that look like {some(others)} too (--format says which)"
    return name, chosen, [note] if others else []


def _known() -> str:
    return ", ".join(IMPORTERS)


def _nothing(source: Source, shown: Path, merged: Merged, problems: Sequence[Problem]) -> str:
    """Why there is no photo with annotations."""
    first = f"; the first problem: {problems[0].where}: {problems[0].what}" if problems else ""
    if merged.set_aside:
        path, reason = next(iter(merged.set_aside.items()))
        return f"{shown}: all {len(merged.set_aside)} photos are set aside; the first: {path}: {reason}"
    if not source.photos:
        where = f"names no photo of {source.photo_root}, where no photo lies; name the photos' folder (--photos)"
        return f"{shown}: {where}{first}"
    return f"{shown}: names no photo of {source.photo_root}; its photos are called like {source.photos[0]}{first}"


def _slips(source: Source, names: Sequence[str]) -> list[str]:
    """Likely slips of an import."""
    slips = [f"{problem.where}: {problem.what}" for problem in odd_names(names)]
    if source.listing.masks:
        folders = sorted({path.rpartition("/")[0] for path in source.listing.masks})
        slips.append(f"{len(source.listing.masks)} pictures in {some(folders)} are taken for masks, not for photos")
    return slips
