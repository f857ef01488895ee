"""The selection step: threshold and quality of the label maps from photos and tags alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.places import number, place_of
from semples.core.progress import track
from semples.data.dataset import Item, drawn
from semples.data.photos import reduced
from semples.evaluation.selection import Choice, Grid, Signs, at, background_steadiness, choose, steadiness
from semples.labels.base import Calibration, LabelMethod
from semples.labels.make import calibration_of
from semples.run.context import Context
from semples.run.label_maps import Inputs
from semples.run.labelling import label_inputs, label_method
from semples.run.models import RunParts
from semples.run.names import JUDGE, SELECTION, SELECTION_FILE
from semples.run.pool import pooled
from semples.run.records import read_output
from semples.run.step import Step
from semples.run.work import Work
from semples.settings.judges import NO_JUDGE

if TYPE_CHECKING:
    from semples.stages.recognition import Recognition

SIGNS = "signs"  # folder with a file a photo, so that a step that was cut goes on
USED = "photos, tags and the judge; no pixel mask was looked at"
ESTIMATED = "an estimate: a line fitted on drawn worlds; good for comparing runs on the same photos"
UNKNOWN = "not estimated: nothing was measured for this method, or no judge has seen the masks"
USED_ALONE = "photos and tags, no judge; no pixel mask was looked at"


def step() -> Step:
    """Choose the threshold without masks, and estimate how good the label maps are."""
    about = "threshold from photos and tags alone"
    return Step(SELECTION, about, ("data", "cams", "regions", JUDGE), _run, version=5)


def _run(work: Work) -> dict[str, Any]:
    from semples.networks.precision import at_precision

    dataset = work.dataset
    items = drawn(dataset, count=work.setting("selection.photos"), seed=work.setting("run.seed"))
    method = label_method(work).selecting
    calibration = method.calibration
    grid, max_side = calibration.grid, work.setting("cams.max_side")
    recognition = Later(work) if work.setting("judge.kind") != NO_JUDGE else None
    precision = work.setting("run.inference")
    inputs = label_inputs(work, method.needs)
    number(work.folder / SIGNS, (item.id for item in dataset.items), suffix=".json")
    todo = [item for item in items[work.rank :: work.processes] if not _path(work.folder, item).is_file()]
    if todo and method.learns:
        method.fit(inputs.shown(item, reduced(dataset.photo(item), max_side=max_side)) for item in dataset.items)
    sweep = _Sweep(inputs, method, grid.maps, max_side)
    swept = pooled(sweep, todo, workers=work.workers if method.shareable else 0)
    for item, (photo, maps) in zip(todo, track(swept, label="selection", total=len(todo)), strict=True):
        with at_precision(work.device, precision) if recognition is not None else nullcontext():
            signs = photo_signs(recognition, photo, maps, item.tags, grid=grid)
        write_json(_path(work.folder, item), signs)
    work.wait()
    otherwise = None if items else work.setting("labels.threshold")
    if not work.is_main:
        return {}
    rows = [read_json(_path(work.folder, item)) for item in items]
    described = describe(
        rows, calibration, names=dataset.classes.names, method=method.settings.method, otherwise=otherwise
    )
    write_json(work.folder / SELECTION_FILE, described)
    return {
        "photos": len(items),
        "threshold": described["threshold"],
        "estimated_miou": described["quality"]["miou"],
    }


@dataclass(frozen=True)
class _Sweep:
    """A photo, at most `max_side` pixels long, and its label maps at all thresholds; processes share the photos."""

    inputs: Inputs
    method: LabelMethod
    thresholds: Sequence[float]
    max_side: int

    def __call__(self, item: Item) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        photo = reduced(self.inputs.dataset.photo(item), max_side=self.max_side)
        return photo, self.method.sweep(self.inputs.shown(item, photo), self.thresholds)


class Later:
    """The judge of masks, once one has to be judged."""

    def __init__(self, work: Work) -> None:
        self._parts = RunParts(work)
        self._made: Recognition | None = None
        self._settings = work.settings("judge")
        self._generator = {name: work.setting(f"generator.{name}") for name in ("mean", "std")}

    def __call__(self) -> Recognition:
        from semples.stages.recognition import Recognition
        from semples.stages.views import ViewMaker

        if self._made is None:
            judge = self._parts.judge()
            maker = ViewMaker.of(judge, epsilon=0.0, **self._generator)
            self._made = Recognition(judge.lean(), view_maker=maker, **self._generator)
        return self._made


def photo_signs(
    recognition: Callable[[], Recognition] | None,
    photo: np.ndarray,
    maps: list[np.ndarray],
    tags: tuple[int, ...],
    *,
    grid: Grid,
) -> dict[str, Any]:
    """The signs of one photo as plain data: per present class a list over the tried thresholds; null: unknown. The
    background's steadiness, one list, stands there where there is no judge, null for a photo of one class."""
    steady = steadiness(maps, tags, reach=grid.reach)
    tried = maps[grid.reach : -grid.reach]
    masks = [labels == index + 1 for index in tags for labels in tried]
    known = np.full(len(masks), np.nan)
    if recognition is not None:
        known = recognition().probabilities(photo, masks, [index for index in tags for _ in tried])
    signs: dict[str, Any] = {
        "classes": list(tags),
        "steadiness": [_known(row) for row in steady],
        "recognition": [_known(row) for row in known.reshape(len(tags), -1)],
    }
    if recognition is None:
        signs["background"] = _known(background_steadiness(maps, tags, reach=grid.reach))
    return signs


def describe(
    rows: Sequence[dict[str, Any]],
    calibration: Calibration,
    *,
    names: Sequence[str],
    method: str,
    otherwise: float | None,
) -> dict[str, Any]:
    """The choice as plain data: thresholds, the curves they come from, the estimate, and what was used.

    rows: what `photo_signs` said of each photo. otherwise: the threshold where there is no pair to choose by.
    """
    grid = calibration.grid
    signs = signs_of(rows, tried=len(grid.tried))
    judged = not signs.recognition.size or not np.isnan(signs.recognition).all()
    about = {"used": USED if judged else USED_ALONE, "photos": len(rows), "pairs": len(signs.classes), "method": method}
    if not len(signs.classes):
        nothing = {"per_class": dict.fromkeys(names, otherwise), "curves": None, "quality": {"miou": None}}
        return about | {"threshold": otherwise, "note": "no tagged photo: the set threshold"} | nothing
    choice = choose(signs, grid.tried, num_classes=len(names), weight=grid.weight)
    per_class = [choice.threshold if place is None else place for place in choice.per_class]
    return about | {
        "threshold": choice.threshold,
        "per_class": dict(zip(names, per_class, strict=True)),
        "window": grid.window,
        "quality": estimate(choice, grid.tried, calibration=calibration, place=choice.threshold),
        "curves": {
            "threshold": grid.tried,
            "steadiness": _known(choice.steadiness),
            "recognition": _known(choice.recognition),
            "criterion": _known(choice.criterion),
        },
    }


def _known(values: NDArray[np.float64]) -> list[float | None]:
    """A curve as plain data: None at thresholds where no pair says anything, all masks being empty there."""
    return [None if np.isnan(value) else round(float(value), 6) for value in values]


def signs_of(rows: Sequence[dict[str, Any]], *, tried: int) -> Signs:
    """The signs of all photos together."""
    values = {
        key: np.array([line for row in rows for line in row[key]], np.float64).reshape(-1, tried)
        for key in ("steadiness", "recognition")
    }
    classes = np.array([index for row in rows for index in row["classes"]], np.intp)
    balances = [row["background"] for row in rows for _ in row["classes"] if "background" in row]
    background = np.array(balances, np.float64).reshape(-1, tried) if balances else None
    return Signs(classes, values["steadiness"], values["recognition"], background)


def estimate(choice: Choice, tried: Sequence[float], *, calibration: Calibration, place: float) -> dict[str, Any]:
    """What mIoU (percent) the label maps at `place` may have, with the error of such estimates on drawn worlds; both
    None for a label method that was not measured, and where no judge has seen the masks."""
    steady, recognised = at(tried, choice.steadiness, place), at(tried, choice.recognition, place)
    empty = np.isnan(steady)  # no mask at any threshold
    line = None if np.isnan(recognised) else calibration.quality
    return {
        "miou": None if empty or line is None else round(min(100.0, max(0.0, line.start + line.slope * steady)), 1),
        "plus_minus": None if line is None else line.error,
        "steadiness": None if empty else round(steady, 4),
        "recognition": None if np.isnan(recognised) else round(recognised, 4),
        "about": ESTIMATED if line is not None else UNKNOWN,
    }


def quality(context: Context, place: float) -> dict[str, Any] | None:
    """The estimate for the run's label maps at the threshold `place`; None where nothing has been measured."""
    folder = context.folder(SELECTION)
    try:
        stored = read_output(folder, SELECTION_FILE) if (folder / SELECTION_FILE).is_file() else {}
    except UserError:  # damaged: the step makes it again
        return None
    curves = stored.get("curves")
    if curves is None:
        return None
    columns = [np.array(curves[key], np.float64) for key in ("steadiness", "recognition", "criterion")]
    calibration = calibration_of(stored["method"], stored=True)
    return estimate(Choice(place, (), *columns), curves["threshold"], calibration=calibration, place=place)


def _path(folder: Path, item: Item) -> Path:
    return place_of(folder / SIGNS, item.id, ".json")
