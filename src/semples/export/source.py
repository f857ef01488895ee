"""What is exported: photos with their label maps, class names, and CAMs where a format needs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.data.dataset import IGNORE, ClassList, FileDataset, Item, TaggedDataset
from semples.data.photos import probe
from semples.data.text import nfc

if TYPE_CHECKING:
    from semples.run.context import Context

THRESHOLD = 0.45  # the recipe's default


@dataclass(frozen=True)
class ExportSource:
    """Photos and the folder with a label map `ID.png` for each.

    `sizes` holds each photo's (width, height) by id; None: they are read from the photos. `cams` and `threshold`, the
    background threshold of the label maps, serve formats that hold CAMs. `corrected`: label maps of photos that a
    person has corrected, by id, in place of those in the folder.
    """

    dataset: TaggedDataset
    labels: Path
    sizes: Mapping[str, tuple[int, int]] | None = None
    cams: CamStore | None = None
    threshold: float = THRESHOLD
    corrected: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    def size(self, item: Item) -> tuple[int, int]:
        """(width, height) of a photo once upright."""
        return probe(item.photo) if self.sizes is None else self.sizes[item.id]

    def label_map(self, item: Item) -> NDArray[np.uint8]:
        """(H, W) uint8 labels of the photo's size: 0 background, class k is k + 1, 255 ignore. Raises UserError."""
        path = place_of(self.labels, item.id, ".png")
        by_hand = self.corrected.get(item.id)
        if by_hand is None and not path.is_file():
            raise UserError(f"{path}: no such label map; make the labels of all photos first (`semples label RUN`)")
        labels = read_label_png(path) if by_hand is None else by_hand
        width, height = self.size(item)
        if labels.shape != (height, width):
            raise UserError(
                f"{path}: {labels.shape[1]}x{labels.shape[0]} pixels, but the photo {item.id} has {width}x{height}; "
                "make this label map again"
            )
        strange = labels[(labels > len(self.dataset.classes)) & (labels != IGNORE)]
        if strange.size:
            raise UserError(
                f"{path}: holds the label {strange[0]}, but there are {len(self.dataset.classes)} classes; "
                "make this label map again, or choose the folder that belongs to this run"
            )
        return labels

    @cached_property
    def photo_names(self) -> dict[str, str]:
        """Each photo's path by id, posix style, below the folder that holds them all; as upload pages name them."""
        names = {item.id: _file_name(item) for item in self.dataset.items}
        parents = [PurePosixPath(name).parts[:-1] for name in names.values()]
        shared = 0
        while all(len(parent) > shared for parent in parents) and len({parent[shared] for parent in parents}) == 1:
            shared += 1
        return {id: "/".join(PurePosixPath(name).parts[shared:]) for id, name in names.items()}

    @cached_property
    def flat_names(self) -> dict[str, str]:
        """A name without folders for each id, unique whatever the case, for formats that know no folders.

        The last part of the id where that tells all photos apart, else the id with `_` for `/`.
        """
        ids = [item.id for item in self.dataset.items]
        plain = {id: "".join(sign if sign.isprintable() else "_" for sign in id) for id in ids}
        short = {id: PurePosixPath(name).name for id, name in plain.items()}
        if _are_distinct(short.values()):
            return short
        names: dict[str, str] = {}
        taken: set[str] = set()
        for id in ids:
            name = joined = plain[id].replace("/", "_")
            number = 1
            while name.casefold() in taken:
                number += 1
                name = f"{joined}-{number}"
            taken.add(name.casefold())
            names[id] = name
        return names


def source_of_run(context: Context, *, labels: Path | None = None, cams: Path | None = None) -> ExportSource:
    """The photos of a run with its label maps and CAMs, or those of the folders `labels` and `cams`."""
    from semples.run.corrections import corrected
    from semples.run.photos import DATASET, photo_sizes

    folder = context.folder("data")
    if not (folder / DATASET).is_file():
        raise UserError(f"{context.out}: its photos are not listed yet; run `semples label {context.out}` first")
    for given in (labels, cams):
        if given is not None and not given.is_dir():
            raise UserError(f"{given}: no such folder")
    return ExportSource(
        dataset=context.dataset,
        labels=labels or context.folder("labels"),
        sizes=photo_sizes(folder),
        cams=CamStore(cams or context.folder("cams")),
        threshold=_threshold(context),
        corrected={} if labels is not None else corrected(context),
    )


def source_of_photos(photos: Mapping[str, Path], labels: Path, *, classes: ClassList, name: str) -> ExportSource:
    """Photos by id with the label maps `ID.png` in the folder `labels`, for example predictions; no tags, no CAMs."""
    items = tuple(Item(id, photo, ()) for id, photo in photos.items())
    return ExportSource(FileDataset(name, labels, classes, items, ()), labels)


def _threshold(context: Context) -> float:
    """The background threshold that the label maps were made with; the recipe's where there are none yet."""
    from semples.run.records import result_of

    threshold = result_of(context.folder("labels")).get("threshold")
    return float(threshold) if isinstance(threshold, int | float) else context.recipe.labels.threshold


def _file_name(item: Item) -> str:
    """A photo's path as its dataset names it: the id and, unless that ends in it, the extension.

    The photo's own path does not serve: of a linked photo it may be any.
    """
    whole = f"/{item.id}{item.photo.suffix}"
    path = nfc(item.photo.as_posix())
    return item.id if not path.endswith(whole) and path.endswith(f"/{item.id}") else whole[1:]


def _are_distinct(names: Iterable[str]) -> bool:
    folded = [name.casefold() for name in names]
    return len(set(folded)) == len(folded)
