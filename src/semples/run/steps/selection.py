"""The selection step: threshold and quality of the label maps from photos and tags alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.core.progress import track
from semples.data.dataset import Item, TaggedDataset
from semples.evaluation.selection import Choice, Grid, Signs, at, choose, steadiness
from semples.labels.base import Calibration, LabelInput, nothing_given
from semples.labels.make import calibration_of
from semples.labels.regions import Regions
from semples.run.context import Context, Step
from semples.run.steps.cams import name as cams_name
from semples.run.steps.cams import reduced
from semples.run.steps.labels import fresh_features, method_of, read_cams
from semples.run.steps.regions import stored_regions
from semples.run.threshold import SELECTION, SELECTION_FILE, selection_inputs

if TYPE_CHECKING:
    from semples.stages.recognition import Judge

DRAW_KEY = 3
SIGNS = "signs"  # folder with a file a photo, so that a step that was cut goes on
USED = "photos, tags and CLIP; no pixel mask was looked at"


def step() -> Step:
    """Choose the threshold without masks, and estimate how good the label maps are."""
    about = "threshold from photos and tags alone"
    return Step(SELECTION, about, ("data", "cams", "regions"), selection_inputs, _run, version=2)


def _run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    recipe, dataset = context.recipe, context.dataset
    items = drawn(dataset, count=recipe.selection.photos, seed=recipe.run.seed)
    calibration = calibration_of(recipe.labels.method)
    grid = calibration.grid
    todo = [item for item in items[context.rank :: context.processes] if not _path(folder, item).is_file()]
    if todo:
        judge = make_judge(context)
        store = CamStore(context.folder(cams_name()), format=recipe.cams.format)
        method = method_of(recipe, num_classes=len(dataset.classes))
        features = fresh_features(context, dataset)

        def given(item: Item, photo: np.ndarray | None = None) -> LabelInput:
            shown = reduced(dataset.photo(item), max_side=recipe.cams.max_side) if photo is None else photo
            regions = partial(stored_regions, context, item)
            return label_input(store, item, shown, regions=regions, features=partial(features, item))

        if method.learns:
            method.fit(map(given, dataset.items))
        for item in track(todo, label="selection"):
            photo = reduced(dataset.photo(item), max_side=recipe.cams.max_side)
            maps = method.sweep(given(item, photo), grid.maps)
            write_json(_path(folder, item), photo_signs(judge, photo, maps, item.tags, grid=grid))
    context.wait()
    if not context.is_main:
        return {}
    found = describe([read_json(_path(folder, item)) for item in items], context, calibration)
    write_json(folder / SELECTION_FILE, found)
    return {"photos": len(items), "threshold": found["threshold"], "estimated_miou": found["quality"]["miou"]}


def drawn(dataset: TaggedDataset, *, count: int, seed: int) -> list[Item]:
    """At most `count` tagged photos, drawn at random, in the order of the dataset."""
    tagged = [item for item in dataset.items if item.tags]
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, DRAW_KEY)))).permutation(len(tagged))
    return [tagged[index] for index in sorted(order[:count])]


def label_input(
    store: CamStore,
    item: Item,
    photo: np.ndarray,
    *,
    regions: Callable[[], Regions],
    features: Callable[[], NDArray[np.float32]] = nothing_given,
) -> LabelInput:
    """What a label method is told of a stored photo whose labels are to have the size of `photo`, uint8 (H,W,3)."""
    cams, shape = read_cams(store, item, photo.shape[:2])
    size = (photo.shape[0], photo.shape[1])
    return LabelInput(
        id=item.id,
        cams=cams,
        shape=shape,
        size=size,
        tags=item.tags,
        photo=lambda: photo,
        regions=regions,
        features=features,
    )


def photo_signs(
    judge: Judge, photo: np.ndarray, maps: list[np.ndarray], tags: tuple[int, ...], *, grid: Grid
) -> dict[str, Any]:
    """Both signs of one photo as plain data: per present class a list over the tried thresholds."""
    steady = steadiness(maps, tags, reach=grid.reach)
    tried = maps[grid.reach : -grid.reach]
    masks = [labels == index + 1 for index in tags for labels in tried]
    known = judge.probabilities(photo, masks, [index for index in tags for _ in tried])
    return {
        "classes": list(tags),
        "steadiness": [[None if np.isnan(x) else round(float(x), 6) for x in row] for row in steady],
        "recognition": np.round(known.reshape(len(tags), -1), 6).tolist(),
    }


def describe(rows: Sequence[dict[str, Any]], context: Context, calibration: Calibration) -> dict[str, Any]:
    """The choice as plain data: thresholds, the curves they come from, the estimate, and what was used."""
    grid = calibration.grid
    settings, names = context.recipe.labels, context.dataset.classes.names
    signs = signs_of(rows, tried=len(grid.tried))
    about = {"used": USED, "photos": len(rows), "pairs": len(signs.classes), "method": settings.method}
    if not len(signs.classes):
        nothing = {"per_class": dict.fromkeys(names, settings.threshold), "curves": None, "quality": {"miou": None}}
        return about | {"threshold": settings.threshold, "note": "no tagged photo: the set threshold"} | nothing
    choice = choose(signs, grid.tried, num_classes=len(names), weight=grid.weight)
    own = [choice.threshold if place is None else place for place in choice.per_class]
    return about | {
        "threshold": choice.threshold,
        "per_class": dict(zip(names, own, strict=True)),
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
    return Signs(classes, values["steadiness"], values["recognition"])


def estimate(choice: Choice, tried: Sequence[float], *, calibration: Calibration, place: float) -> dict[str, Any]:
    """What mIoU (percent) the label maps at `place` may have, with the error of such estimates on drawn worlds; both
    None for a label method that was not measured."""
    line = calibration.quality
    steady, recognised = at(tried, choice.steadiness, place), at(tried, choice.recognition, place)
    empty = np.isnan(steady)  # no mask at any threshold
    return {
        "miou": None if empty or line is None else round(min(100.0, max(0.0, line.start + line.slope * steady)), 1),
        "plus_minus": None if line is None else line.error,
        "steadiness": None if empty else round(steady, 4),
        "recognition": round(recognised, 4),
        "about": "an estimate: a line fitted on drawn worlds; good for comparing runs on the same photos",
    }


def quality(context: Context, place: float) -> dict[str, Any] | None:
    """The estimate for the run's label maps at the threshold `place`; None where nothing has been measured."""
    path = context.folder(SELECTION) / SELECTION_FILE
    stored = read_json(path) if path.is_file() else {}
    curves = stored.get("curves")
    if curves is None:
        return None
    columns = [np.array(curves[key], np.float64) for key in ("steadiness", "recognition", "criterion")]
    calibration = calibration_of(stored["method"], stored=True)
    return estimate(Choice(place, (), *columns), curves["threshold"], calibration=calibration, place=place)


def make_judge(context: Context) -> Judge:
    """The run's CLIP as a judge of masks."""
    from semples.run.steps.train import class_features, load_clip, view_maker
    from semples.stages.recognition import Judge

    clip = load_clip(context)
    features = class_features(context, clip)
    clip.drop_text()
    maker = view_maker(context, clip, context.recipe.matching)
    return Judge(clip, features, view_maker=maker, mean=context.recipe.generator.mean, std=context.recipe.generator.std)


def _path(folder: Path, item: Item) -> Path:
    return folder / SIGNS / f"{item.id}.json"
