"""VOC's XML, a file for each photo, and the masks beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from semples.data.classes import VOC_CLASSES
from semples.data.importers.annotations import Annotations, Entry, MaskFile, Thing, clean, size_of, some
from semples.data.importers.base import Importer, Source
from semples.data.importers.label_lists import LabelList, find_list
from semples.data.importers.xml import XmlError, read_xml, root_tag
from semples.data.listing import files_below
from semples.data.photos import PhotoError, read_mask
from semples.data.problem import Problem
from semples.data.text import nfc

MASKS = ("SegmentationClassAug", "SegmentationClass", "SegmentationClassPNG")
NO_MASKS = (
    "not taken over, since nothing tells which class a value is; list the classes in the order of their values in "
    "class_names.txt beside the folder, `background` first"
)


class VocXml(Importer):
    """VOC's XML: the names of the objects; the photo is the one with the file's name, else the one it names."""

    about = "Pascal VOC's XML files, one a photo, and the masks beside them"

    def recognises(self, source: Source) -> bool:
        return any(root_tag(path) == "annotation" for path in source.with_suffix(".xml"))

    def read(self, source: Source) -> Annotations:
        entries: list[Entry] = []
        problems: list[Problem] = []
        for path in source.with_suffix(".xml"):
            told = source.told(path)
            try:
                entries.append(_entry(source, path))
            except XmlError as reason:
                entries.append(Entry(told, path.stem, fault=f"its XML is not read: {reason}"))
        bare = [entry.photo for entry in entries if not entry.things and not entry.fault]
        notes = [f"{len(bare)} XML files name no object ({some(bare)}): background only"] if bare else []
        entries, said = _with_masks(source, entries, problems)
        return Annotations((), tuple(entries), tuple(problems), (*notes, *said))


def _entry(source: Source, path: Path) -> Entry:
    tree = read_xml(path)
    if tree.tag != "annotation":
        raise XmlError(f"an XML of <{tree.tag}>, not VOC's <annotation>")
    told = PurePosixPath(nfc(tree.value("filename")).replace("\\", "/"))
    size = size_of(tree.value("size", "width"), tree.value("size", "height"))
    names = [clean(entry.value("name")) for entry in tree.all("object")]
    fault = "" if all(names) else "an object in it has no name"
    things = tuple(Thing(name) for name in names if name)
    order = (told.name, path.stem) if told.stem == path.stem else (path.stem, told.name)  # renamed since
    base = source.base_of(path)
    names = [base + name for name in order if name] + ([name for name in order if name] if base else [])
    return Entry(source.told(path), names[0], things, size, tuple(names[1:]), fault)


# ------------------------------------------------------------------------------------------------------------ masks


def _with_masks(source: Source, entries: list[Entry], problems: list[Problem]) -> tuple[list[Entry], list[str]]:
    """The entries with the masks that lie beside the XML files, where the classes of their values are told; notes."""
    roots = (source.root, source.root.parent, source.photo_root, source.photo_root.parent)
    folder = next((root / name for root in roots for name in MASKS if (root / name).is_dir()), None)
    if folder is None:
        return entries, []
    masks = {nfc(PurePosixPath(name).stem): folder / name for name in files_below(folder, frozenset({".png"}))}
    named = {entry.where: masks[stem] for entry in entries if (stem := PurePosixPath(entry.where).stem) in masks}
    listed = find_list(folder.parent, source.root)
    if listed is not None and listed.colours:
        with_masks = [
            _masked(entry, MaskFile(named[entry.where], "colour", listed.colours)) if entry.where in named else entry
            for entry in entries
        ]
        return with_masks, [f"masks of {folder.name}/ are read by the colours of {listed.path.name}"]
    values: dict[str, frozenset[int]] = {}
    for where, path in named.items():
        try:
            values[where] = frozenset(map(int, np.unique(read_mask(path)))) - {0, 255}
        except PhotoError:
            continue  # said when it is drawn
    tags = {entry.where: {thing.name for thing in entry.things} for entry in entries if not entry.fault}
    order = _order(values, tags, listed)
    if order is None:
        problems.append(Problem(folder.name, NO_MASKS))
        return entries, []
    names, how = order
    masked = [
        _masked(entry, MaskFile(named[entry.where], "index", {0: "", **names}, frozenset({255})))
        if entry.where in named else entry
        for entry in entries
    ]  # fmt: skip
    return masked, [f"masks of {folder.name}/ are read with the classes {how}"]


def _masked(entry: Entry, mask: MaskFile) -> Entry:
    return Entry(entry.where, entry.photo, entry.things, entry.size, entry.also, entry.fault, mask)


def _order(
    values: Mapping[str, frozenset[int]], tags: Mapping[str, set[str]], listed: LabelList | None
) -> tuple[Mapping[int, str], str] | None:
    """Classes of values that fit what the XML files say of every photo; None where none is told for sure."""
    known = {where: seen for where, seen in values.items() if where in tags and seen}
    if not known:
        return None
    names = sorted(set().union(*tags.values()))
    candidates: list[tuple[Mapping[int, str], str]] = []
    if listed is not None:
        candidates.append((listed.names, f"of {listed.path.name}"))
    if set(names) <= set(VOC_CLASSES.names):
        candidates.append((dict(enumerate(VOC_CLASSES.names, start=1)), "of VOC"))
    for order, how in candidates:
        if all(order.get(value) in tags[where] for where, seen in known.items() for value in seen):
            return order, how
    deduced = _deduced(known, tags)
    return None if deduced is None else (deduced, "that the XML files leave for each value")


def _deduced(values: Mapping[str, frozenset[int]], tags: Mapping[str, set[str]]) -> Mapping[int, str] | None:
    """Each value's class where just one is named in exactly those XML files whose masks hold the value."""
    order: dict[int, str] = {}
    for value in sorted(set().union(*values.values())):
        there = [where for where, seen in values.items() if value in seen]
        fits = set.intersection(*(tags[where] for where in there))
        for where, seen in values.items():
            if value not in seen:
                fits -= tags[where]
        if len(fits) != 1:
            return None
        order[value] = fits.pop()
    return order if len(set(order.values())) == len(order) else None
