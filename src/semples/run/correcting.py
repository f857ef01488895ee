"""Take in label maps that people have mended elsewhere, and bring the label maps of the run up to date with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semples.core.errors import UserError
from semples.core.palette import read_confidence_png, read_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.data.dataset import Item
from semples.data.importers.mending import Mended, read_mended
from semples.data.problem import Problem
from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.text import nfc
from semples.run import graph, outputs
from semples.run.context import Context
from semples.run.corrections import Corrections
from semples.run.folder import lock
from semples.run.graph import Tell
from semples.run.label_maps import CONFIDENCE
from semples.run.records import read_manifest, started_reads
from semples.run.steps.labels import CORRECTIONS, labels_step
from semples.run.threshold import step_before
from semples.run.work import changed
from semples.settings.kinds import label_needs

EDGE = 2  # pixels beside an edge of the label map that a polygon may move without a person having meant it


@dataclass
class Taken:
    """What became of mended files: ids of photos newly corrected, of those as they were, classes that a photo's tags
    lack (`id: names`), and a line for each thing that cannot be used. refreshed: the run's label maps show them."""

    corrected: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    untagged: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refreshed: bool = False


def correct(
    context: Context,
    files: Sequence[Path],
    *,
    format: str | None = None,
    unchanged: bool = False,
    tell: Tell = lambda line: None,
) -> Taken:
    """Store the masks of `files` as corrections. Masks that are as the label maps are now are no corrections, unless
    `unchanged`: somebody has looked at all of them.

    Raises UserError where nothing can be used; nothing is stored then.
    """
    taken = Taken()
    with lock(context):
        dataset = context.dataset
        stored = Corrections.of(context.out)
        items = {name_of(item): item for item in dataset.items}
        files_of = {name: item.photo for name, item in items.items()}
        present = _Present(context, stored)
        problems: list[Problem] = []
        for path in files:
            masks = read_mended(
                path, files_of, dataset.classes, root=context.source.root, scratch=context.out / "correcting",
                format=format, problems=problems,
            )  # fmt: skip
            for mended in track(list(masks) if path.is_file() else masks, label="corrections"):
                item = items[mended.photo]
                if not unchanged and present.is_as_before(item, mended):
                    taken.unchanged.append(item.id)
                    continue
                source = f"{path}" if mended.where == path.name else f"{path}: {mended.where}"
                stored.put(
                    item.id, mended.labels, photo=item.photo, classes=dataset.classes.names, source=source,
                    made=present.made(item),
                )  # fmt: skip
                taken.corrected.append(item.id)
                taken.untagged += _untagged(item, mended.labels, dataset.classes.names)
        taken.problems = [f"{problem.where}: {problem.what}" for problem in problems]
        if not taken.corrected and not taken.unchanged:
            first = f"; the first reason: {taken.problems[0]}" if taken.problems else ""
            raise UserError(f"{files[0]}: no mask of a photo of this run{first}")
        if taken.corrected or not stored.is_whole:
            stored.save()
        if taken.corrected or not _shows(context):
            taken.refreshed = refresh(context, tell=tell)
    return taken


def take_back(context: Context, ids: Sequence[str], *, tell: Tell = lambda line: None) -> bool:
    """Let corrections of photos count no more; whether the label maps are up to date with that. Raises
    UserError for a photo that has none, unless a call before was cut when it had taken it back."""
    with lock(context):
        stored = Corrections.of(context.out)
        was_cut = not _shows(context)
        for id in ids:
            if id not in stored.now and id in stored.before and was_cut:
                continue
            if id not in stored.now:
                known = ", ".join(list(stored.now)[:3]) or "none"
                raise UserError(f"{id}: this photo has no correction; there are those of {known}")
            stored.take_back(id)
        stored.save()
        return refresh(context, tell=tell)


def refresh(context: Context, *, tell: Tell = lambda line: None) -> bool:
    """Bring label maps that are up to date but for corrections up to date; False where they are not, or not made.

    The caller holds the run's lock.
    """
    step = labels_step()
    reads = _read_by_labels(context)
    if reads is None or context.processes > 1:
        return False
    if context.recipe.labels.select == "corrections":  # the threshold is to be chosen anew first
        return False
    if set(changed(context, reads, step.facts)) - {CORRECTIONS}:
        return False
    graph.bring(context, step, tell=tell)
    return True


def _read_by_labels(context: Context) -> dict[str, Any] | None:
    """What the step of the label maps has read: a finished one, or one that was cut and has all it needs to go on."""
    step, folder, labels = labels_step(), context.folder("labels"), context.recipe.labels
    manifest = read_manifest(folder)
    if manifest is not None:
        return dict(manifest["reads"]) if manifest.get("version") == step.version else None
    before = step_before(context.recipe)
    needed = ["data", "cams", *(["regions"] if "regions" in label_needs(labels.method) else [])]
    needed += [] if before is None else [before]
    ready = all(read_manifest(context.folder(name)) is not None for name in needed)
    return started_reads(folder) if ready else None


def _shows(context: Context) -> bool:
    """Whether the label maps are finished, and made with the corrections that count now."""
    manifest = read_manifest(context.folder("labels"))
    return manifest is not None and CORRECTIONS not in changed(context, manifest["reads"], labels_step().facts)


def name_of(item: Item) -> str:
    """A photo's path as its dataset names it: its id, with the extension."""
    tail = item.id.rpartition("/")[2]
    has_suffix = Path(tail).suffix.casefold() in PHOTO_SUFFIXES and nfc(item.photo.name) == tail
    return item.id if has_suffix else item.id + item.photo.suffix


class _Present:
    """The label maps as they are: a run's own, or corrections of before."""

    def __init__(self, context: Context, stored: Corrections) -> None:
        self._folder, self._stored = context.folder("labels"), stored
        self._before = dict(stored.now)
        manifest = read_manifest(self._folder)
        damaged = None if manifest is None else outputs.damaged(self._folder, manifest["outputs"], content=True)
        self._edited = set(damaged or ())  # painted over where they lie

    def is_as_before(self, item: Item, mended: Mended) -> bool:
        """Whether nobody has changed a photo's map. Along the edges polygons say nothing exact."""
        path = place_of(self._folder, item.id, ".png")
        if item.id in self._before:
            digest = self._before[item.id].sha256
            path = self._stored.maps.path(digest)
            if not self._stored.maps.has(digest):
                return False
        elif path in self._edited or not path.is_file():
            return False
        before = read_label_png(path)
        if before.shape != mended.labels.shape:
            return False
        differs = before != mended.labels
        return not differs.any() or (not mended.exact and not (differs & ~near_edges(before, EDGE)).any())

    def made(self, item: Item) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
        """A photo's label map and its confidences as the program made them; None where a person has changed them."""
        path, sure = (place_of(place, item.id, ".png") for place in (self._folder, self._folder / CONFIDENCE))
        if item.id in self._before or path in self._edited or not (path.is_file() and sure.is_file()):
            return None
        return read_label_png(path), read_confidence_png(sure)


def near_edges(labels: NDArray[np.uint8], reach: int) -> NDArray[np.bool_]:
    """Pixels (H,W) at most `reach` from a pixel that has another label beside it."""
    edge = np.zeros(labels.shape, np.bool_)
    for axis in (0, 1):
        steps = np.diff(labels.astype(np.int16), axis=axis) != 0
        before = [(0, 0), (0, 0)]
        after = [(0, 0), (0, 0)]
        before[axis], after[axis] = (0, 1), (1, 0)
        edge |= np.pad(steps, before) | np.pad(steps, after)
    grown: NDArray[np.bool_] = ndimage.binary_dilation(edge, iterations=reach) if edge.any() else edge
    return grown


def _untagged(item: Item, labels: NDArray[np.uint8], names: Sequence[str]) -> list[str]:
    shown = [int(value) for value in np.unique(labels) if 0 < value <= len(names)]
    extra = [names[value - 1] for value in shown if value - 1 not in item.tags]
    return [f"{item.id}: {', '.join(extra)}"] if extra else []
