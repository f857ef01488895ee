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
from semples.labels.labelling import Labeller
from semples.labels.regions import Regions
from semples.run.context import Context, Step
from semples.run.steps.cams import name as cams_name
from semples.run.steps.cams import reduced
from semples.run.steps.labels import make_labeller, read_cams
from semples.run.steps.regions import stored_regions
from semples.run.threshold import SELECTION, SELECTION_FILE, selection_inputs

if TYPE_CHECKING:
    from semples.stages.recognition import Judge

DRAW_KEY = 3
SIGNS = "signs"  # folder with a file a photo, so that a step that was cut goes on
# Found on two drawn worlds. A CRF moves edges in leaps: a narrower window sees more. After regions and CRF, masks with
# some background are recognised as well as those without, so that sign counts half.
GRIDS = {
    "threshold": Grid(reach=4),
    "crf": Grid(reach=2),
    "regions": Grid(reach=4),
    "regions+crf": Grid(reach=3, weight=0.5),
}
USED = "photos, tags and CLIP; no pixel mask was looked at"

# mIoU (percent) of label maps over steadiness at the chosen threshold: value at 0, slope, and the error of such an
# estimate. Lines by least squares on two drawn worlds; where two points lie too close to tell a slope (regions), the
# slope is that of the threshold and only the value at 0 is fitted. The error is the root mean square on four worlds
# drawn with other settings, by regions+crf, from 120 photos; from 300 it is 5 there and 4 on five drawn with the same,
# by the CRF alone 8 and 4 (benchmarks/results/selection.json). Real photos: not measured.
QUALITY = {
    "threshold": (-15.0, 160.0, 9.0),
    "crf": (-103.0, 220.0, 9.0),
    "regions": (-20.9, 160.0, 9.0),
    "regions+crf": (-42.2, 160.0, 9.0),
}


def step() -> Step:
    """Choose the threshold without masks, and estimate how good the label maps are."""
    about = "threshold from photos and tags alone"
    return Step(SELECTION, about, ("data", "cams", "regions"), selection_inputs, _run, version=2)


def _run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    recipe, dataset = context.recipe, context.dataset
    items = drawn(dataset, count=recipe.selection.photos, seed=recipe.run.seed)
    grid = GRIDS[recipe.labels.method]
    todo = [item for item in items[context.rank :: context.processes] if not _path(folder, item).is_file()]
    if todo:
        judge = make_judge(context)
        store = CamStore(context.folder(cams_name()), format=recipe.cams.format)
        labeller = make_labeller(recipe, recipe.labels.threshold, num_classes=len(dataset.classes))
        for item in track(todo, label="selection"):
            photo = reduced(dataset.photo(item), max_side=recipe.cams.max_side)
            regions = partial(stored_regions, context, item)
            maps = label_maps(labeller, store, item, photo, thresholds=grid.maps, regions=regions)
            write_json(_path(folder, item), photo_signs(judge, photo, maps, item.tags, grid=grid))
    context.wait()
    if not context.is_main:
        return {}
    found = describe([read_json(_path(folder, item)) for item in items], context, grid)
    write_json(folder / SELECTION_FILE, found)
    return {"photos": len(items), "threshold": found["threshold"], "estimated_miou": found["quality"]["miou"]}


def drawn(dataset: TaggedDataset, *, count: int, seed: int) -> list[Item]:
    """At most `count` tagged photos, drawn at random, in the order of the dataset."""
    tagged = [item for item in dataset.items if item.tags]
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, DRAW_KEY)))).permutation(len(tagged))
    return [tagged[index] for index in sorted(order[:count])]


def label_maps(
    labeller: Labeller,
    store: CamStore,
    item: Item,
    photo: np.ndarray,
    *,
    thresholds: Sequence[float],
    regions: Callable[[], Regions],
) -> list[np.ndarray]:
    """A photo's label maps at every threshold, uint8 (H,W) of the size of `photo`; `regions` of it, where needed."""
    cams, shape = read_cams(store, item, photo.shape[:2])
    size = (photo.shape[0], photo.shape[1])
    return labeller.sweep(
        thresholds, cams, shape=shape, size=size, tags=item.tags, photo=lambda: photo, regions=regions
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


def describe(rows: Sequence[dict[str, Any]], context: Context, grid: Grid) -> dict[str, Any]:
    """The choice as plain data: thresholds, the curves they come from, the estimate, and what was used."""
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
        "quality": estimate(choice, grid.tried, method=settings.method, place=choice.threshold),
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


def estimate(choice: Choice, tried: Sequence[float], *, method: str, place: float) -> dict[str, Any]:
    """What mIoU (percent) the label maps at `place` may have, with the error of such estimates on drawn worlds."""
    start, slope, error = QUALITY[method]
    steady, recognised = at(tried, choice.steadiness, place), at(tried, choice.recognition, place)
    empty = np.isnan(steady)  # no mask at any threshold
    return {
        "miou": None if empty else round(min(100.0, max(0.0, start + slope * steady)), 1),
        "plus_minus": error,
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
    return estimate(Choice(place, (), *columns), curves["threshold"], method=stored["method"], place=place)


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
