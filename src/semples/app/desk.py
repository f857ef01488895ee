"""What the review page does with a run: the next doubtful photo, its labels in work, corrections of what is accepted.

Every step is on the disk before it is shown: the labels in work lie beside the corrections by their content, and
drafts.json lists them by photo, oldest first, so that nothing is lost with the page and every step can be taken back.

    corrections/drafts.json       {"photos": {id: [SHA-256 of labels, ...]}, "skipped": [id, ...]}
    corrections/drafts/SHA.png    the labels (`run.content_maps`)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.palette import colour, label_png, read_label_png
from semples.data.dataset import IGNORE, Item
from semples.data.photos import reduced, resize_photo
from semples.inspect.review import Looked, look, read_photo_labels
from semples.labels.regions import Regions, read_regions
from semples.labels.scored import nearest
from semples.labels.threshold import label_map
from semples.recipe import RegionSettings
from semples.run.content_maps import ContentMaps
from semples.run.context import Context
from semples.run.correcting import refresh
from semples.run.corrections import FOLDER, Corrections
from semples.run.folder import lock
from semples.run.label_maps import Inputs, proposer
from semples.run.labelling import label_inputs, label_method
from semples.run.records import read_manifest, result_of
from semples.run.work import Work
from semples.settings.labels import FelzenszwalbSettings

Size = Literal["small", "middle", "large"]
DRAFTS = "drafts.json"
LARGEST = 0.6  # of the photo: a larger region is not offered
SHOWN_SIDE = 900  # the longer side of the picture on the page, at least where whole steps lead there, pixels
OPACITY = 0.5
SOURCE = "the review page"


@dataclass(frozen=True)
class Sheet:
    """A photo at work: its place in the order, labels uint8 (H,W), and how many steps can be taken back."""

    item: Item
    labels: NDArray[np.uint8]
    steps: int


class Desk:
    """The photos of a run in the order of doubt, and what is done with them. One at a time: callers may be threads.

    Raises UserError where the run has no label maps.
    """

    def __init__(self, context: Context) -> None:
        if read_manifest(context.folder("labels")) is None:
            with lock(context):
                refresh(context)  # a review before was ended while it brought the label maps up to date
        if read_manifest(context.folder("labels")) is None:
            raise UserError(f"{context.out}: no label maps to review; make them with `semples label {context.out}`")
        self.context = context
        self.names = context.dataset.classes.names
        self._order: dict[str, Looked] = {
            one.item.id: one for one in sorted(look(context), key=lambda one: (one.certainty, one.item.id))
        }
        self._lock = threading.RLock()
        self._regions: tuple[str, Regions] | None = None
        self._photo: tuple[str, NDArray[np.uint8]] | None = None
        self._tools: tuple[Any, Inputs] | None = None
        self._labels = ContentMaps(context.out / FOLDER / "drafts")
        stored = self._stored()
        self._drafts: dict[str, list[str]] = stored["photos"]
        self._skipped: list[str] = stored["skipped"]

    # ------------------------------------------------------------------------------------------------------- the order

    @property
    def left(self) -> int:
        """How many photos nobody has accepted yet."""
        return len(self._order)

    def next(self) -> str | None:
        """The most doubtful photo that was neither accepted nor skipped; skipped ones come again when all are through;
        None where none is left."""
        with self._lock:
            open_ids = [id for id in self._order if id not in self._skipped]
            if not open_ids and self._skipped:
                self._skipped = []
                open_ids = list(self._order)
            return open_ids[0] if open_ids else None

    def about(self, id: str) -> Looked:
        """What is known of a photo's label map."""
        return self._order[id]

    def has(self, id: object) -> bool:
        """Whether a photo is still to be reviewed."""
        return isinstance(id, str) and id in self._order

    # -------------------------------------------------------------------------------------------------------- the work

    def sheet(self, id: str) -> Sheet:
        """A photo's labels as they stand."""
        with self._lock:
            item, steps = self._order[id].item, self._drafts.get(id, [])
            if steps:
                return Sheet(item, read_label_png(self._labels.path(steps[-1])), len(steps))
            return Sheet(item, read_photo_labels(self.context.folder("labels"), item)[0], 0)

    def paint(self, id: str, mask: NDArray[np.bool_], label: int) -> Sheet:
        """Give the pixels of `mask` (H,W) a label: 0 background, a class's index + 1, or 255 for not known."""
        with self._lock:
            labels = self.sheet(id).labels.copy()
            labels[mask] = label
            return self._step(id, labels)

    def threshold(self, id: str, value: float) -> Sheet:
        """Make the photo's labels anew at a background threshold of its own."""
        with self._lock:
            method, inputs = self._labelling()
            item, shape = self._order[id].item, self.sheet(id).labels.shape
            told = inputs.of(item, size=(shape[0], shape[1]))
            if method.learns:  # it would have to look at all photos first
                return self._step(id, nearest(label_map(told.cams, told.shape, threshold=value), told.size))
            return self._step(id, method.label(told, value).labels)

    def undo(self, id: str) -> Sheet:
        """Take the last step back."""
        with self._lock:
            if self._drafts.get(id):
                self._drafts[id].pop()
                self._save()
            return self.sheet(id)

    def accept(self, id: str) -> None:
        """The labels as they stand become the photo's correction."""
        with self._lock, lock(self.context):
            sheet = self.sheet(id)
            stored = Corrections.of(self.context.out)
            made = read_photo_labels(self.context.folder("labels"), sheet.item)
            stored.put(id, sheet.labels, photo=sheet.item.photo, classes=self.names, source=SOURCE, made=made)
            stored.save()
            self._drafts.pop(id, None)
            self._write()
            del self._order[id]

    def skip(self, id: str) -> None:
        """Look at this photo again when all others are through."""
        with self._lock:
            self._skipped = [*(other for other in self._skipped if other != id), id]
            self._save()

    def finish(self, tell: Callable[[str], None]) -> bool:
        """Bring the run's label maps up to date with what was accepted; False where they are not."""
        with self._lock, lock(self.context):
            return refresh(self.context, tell=tell)

    @property
    def used_threshold(self) -> float:
        """The background threshold that the run's label maps were made with."""
        made = result_of(self.context.folder("labels")).get("threshold")
        return float(made) if isinstance(made, int | float) else self.context.recipe.labels.threshold

    # ----------------------------------------------------------------------------------------------- what a click means

    def region(self, id: str, y: int, x: int, size: Size) -> NDArray[np.bool_]:
        """The region (H,W) at a pixel: the smallest, the largest below 60 % of the photo, or one between; the pixel
        alone where none holds it."""
        with self._lock:
            shape = self.sheet(id).labels.shape
            regions = self._regions_of(id)
            rows, columns = regions.shape
            place = (y * rows // shape[0]) * columns + x * columns // shape[1]
            holding = []
            for level in regions.levels:
                holds = (level.start <= place) & (place < level.start + level.length)
                areas = level.areas
                holding += [(int(areas[region]), level, int(region)) for region in np.unique(level.region[holds])]
            holding = sorted(
                (entry for entry in holding if entry[0] <= LARGEST * rows * columns), key=lambda one: one[0]
            )
            if not holding:
                return disc((shape[0], shape[1]), y, x, 0)
            _, level, region = holding[{"small": 0, "middle": len(holding) // 2, "large": len(holding) - 1}[size]]
            mask = np.zeros(rows * columns, np.uint8)
            runs = level.region == region
            for start, length in zip(level.start[runs], level.length[runs], strict=True):
                mask[start : start + length] = 1
            whole: NDArray[np.bool_] = nearest(mask.reshape(rows, columns), (shape[0], shape[1])).astype(np.bool_)
            return whole

    def _regions_of(self, id: str) -> Regions:
        if self._regions is None or self._regions[0] != id:
            folder = self.context.folder("regions")
            if read_manifest(folder) is not None:
                made = read_regions(folder, id)
            else:
                settings: RegionSettings = self.context.recipe.regions
                if not isinstance(settings, FelzenszwalbSettings):
                    settings = FelzenszwalbSettings()
                made = proposer(settings, lambda: self.context.engine.device)(self.photo(id))
            self._regions = (id, made)
        return self._regions[1]

    def photo(self, id: str) -> NDArray[np.uint8]:
        """The photo, uint8 (H,W,3)."""
        with self._lock:
            if self._photo is None or self._photo[0] != id:
                self._photo = (id, self.context.dataset.photo(self._order[id].item))
            return self._photo[1]

    # --------------------------------------------------------------------------------------------------------- on disk

    def _labelling(self) -> tuple[Any, Inputs]:
        if self._tools is None:
            work = Work.outside(self.context, "cams", "regions")
            method = label_method(work).selecting
            self._tools = (method, label_inputs(work, method.needs))
        return self._tools

    def _step(self, id: str, labels: NDArray[np.uint8]) -> Sheet:
        """Remember labels as the photo's newest."""
        with lock(self.context):
            self._drafts.setdefault(id, []).append(self._labels.keep(label_png(labels)))
            self._write()
        return Sheet(self._order[id].item, labels, len(self._drafts[id]))

    def _save(self) -> None:
        with lock(self.context):
            self._write()

    def _write(self) -> None:
        described = {"photos": {id: steps for id, steps in self._drafts.items() if steps}, "skipped": self._skipped}
        write_json(self.context.out / FOLDER / DRAFTS, described)

    def _stored(self) -> dict[str, Any]:
        """What was left in work, as far as its files are there and whole."""
        path = self.context.out / FOLDER / DRAFTS
        empty: dict[str, Any] = {"photos": {}, "skipped": []}
        if not path.is_file():
            return empty
        try:
            stored = read_json(path)
            photos = {
                id: [digest for digest in steps if self._labels.has(str(digest))]
                for id, steps in stored["photos"].items()
                if id in self._order
            }
            return {"photos": photos, "skipped": [id for id in stored["skipped"] if id in self._order]}
        except (LookupError, TypeError, AttributeError, UserError):
            return empty


# -------------------------------------------------------------------------------------------------------- the picture


def disc(shape: tuple[int, int], y: int, x: int, radius: int) -> NDArray[np.bool_]:
    """A disc (H,W) of a radius in pixels around a pixel; of radius 0 the pixel alone."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return inside


def picture(photo: NDArray[np.uint8], labels: NDArray[np.uint8], *, opacity: float = OPACITY) -> NDArray[np.uint8]:
    """The photo with its labels over it, uint8 (h,w,3): made larger by a whole factor where it is small, smaller where
    it is large; white lines between labels, grey where the label is not known."""
    height, width = labels.shape
    small = reduced(photo, max_side=SHOWN_SIDE)
    if small.shape[:2] == (height, width):
        factor = max(1, SHOWN_SIDE // max(height, width))
        small = resize_photo(photo, width * factor, height * factor)
    shown = nearest(labels, (small.shape[0], small.shape[1]))
    share = np.where(shown > 0, opacity, 0.0)[..., None]
    colours = np.where((shown == IGNORE)[..., None], np.uint8(128), colour(shown))
    mixed: NDArray[np.uint8] = np.rint(small * (1 - share) + colours * share).astype(np.uint8)
    mixed[_lines(shown)] = 255
    return mixed


def _lines(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (H,W) whose right or lower neighbour has another label."""
    edges = np.zeros(labels.shape, np.bool_)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def pixel_of(at: Sequence[Any], shown: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The pixel (y, x) of a photo (H,W) that a place (x, y) of its picture (h,w) shows; None for no place of it."""
    try:
        x, y = float(at[0]), float(at[1])
    except (TypeError, ValueError, LookupError):
        return None
    if not (0 <= x < shown[1] and 0 <= y < shown[0]):
        return None
    return int(y * shape[0] / shown[0]), int(x * shape[1] / shown[1])
