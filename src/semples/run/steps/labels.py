"""The steps after the CAMs: threshold curve, label maps, scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import Cams, CamStore
from semples.core.errors import UnusableFile, UserError
from semples.core.files import read_json, write_json
from semples.core.palette import read_label_png, write_confidence_png, write_label_png
from semples.core.progress import track
from semples.core.schema import to_dict
from semples.data.dataset import Item, PhotoError, TaggedDataset
from semples.evaluation.confusion import Scores, check_same_size, confusion_matrix, scores_from_confusion
from semples.evaluation.curve import Curve, CurveAccumulator, threshold_range
from semples.labels.base import FEATURES, REGIONS, LabelInput, LabelMethod, check_thresholds
from semples.labels.make import make_label_method
from semples.labels.regions import Regions
from semples.labels.scored import MAX_CLASS, Labelled, Thresholds, nearest
from semples.labels.threshold import winner_map
from semples.recipe import Recipe, ScoreSettings
from semples.run.context import Context, Step
from semples.run.steps.cams import LAST
from semples.run.steps.cams import name as cams_name
from semples.run.steps.data import mask_inputs, photo_sizes
from semples.run.steps.regions import scoring_inputs, stored_regions
from semples.run.threshold import CURVE_FILE, chosen_threshold, features_inputs, threshold_inputs
from semples.settings.kinds import has_crf, label_needs

if TYPE_CHECKING:
    from semples.features.base import Features

SCORES = "scores.json"
CONFIDENCE = "confidence"  # folder below the label maps

T = TypeVar("T")


def curve_name(stage: str = LAST) -> str:
    """Name of the step (and folder) with the threshold curve of a stage's CAMs."""
    return "curve" if stage == LAST else f"curve-{stage}"


def curve_step(stage: str = LAST) -> Step:
    """Scores of the CAMs at every background threshold."""

    def inputs(context: Context) -> dict[str, Any]:
        return mask_inputs(context) | to_dict(context.recipe.scores)

    def run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
        if not context.is_main:
            return {}
        store = CamStore(context.folder(cams_name(stage)), format=context.recipe.cams.format)
        dataset, unusable = context.scored_dataset, list[str]()
        curve = threshold_curve(dataset, store, context.recipe.scores, unusable=unusable)
        if curve is None:
            return _counted(dataset, unusable)
        write_json(folder / CURVE_FILE, curve.as_json(dataset.classes.names))
        return _counted(dataset, unusable) | {
            "best_miou": curve.best.scores.miou,
            "best_threshold": curve.best.threshold,
        }

    about = f"scores of the CAMs after {stage} over background thresholds"
    return Step(curve_name(stage), about, ("data", cams_name(stage)), inputs, run)


def check_names(items: Iterable[Item]) -> None:
    """Refuse photos whose label maps would lie where the confidences are."""
    for item in items:
        if item.id.split("/")[0] == CONFIDENCE:
            raise UserError(f"photo {item.id}: label maps keep a folder {CONFIDENCE}; rename the photos' folder")


def labels_step() -> Step:
    """Label maps at the background threshold."""
    return Step("labels", "label maps", ("data", "cams", "regions"), _label_inputs, _run_labels, version=2)


def scores_step() -> Step:
    """Scores of the label maps."""

    def inputs(context: Context) -> dict[str, Any]:
        return mask_inputs(context)

    return Step("scores", "scores of the label maps against masks", ("data", "labels", "curve"), inputs, _run_scores)


# -------------------------------------------------------------------------------------------------------------- work


def truths(dataset: TaggedDataset, unusable: list[str]) -> Iterator[tuple[Item, np.ndarray]]:
    """Every photo with a mask, and the mask; what is wrong with a mask that cannot be used goes to `unusable`."""
    for item in track([item for item in dataset.items if item.mask is not None], label="scoring"):
        try:
            truth = dataset.mask(item)
        except PhotoError as error:
            unusable.append(str(error))
            continue
        assert truth is not None
        yield item, truth


def attempt(work: Callable[[], T], broken: list[str] | None) -> T | None:
    """What `work` answers; None, and a line for `broken`, where a file is of no use. Without `broken` that raises."""
    try:
        return work()
    except UnusableFile as error:
        if broken is None:
            raise
        broken.append(str(error))
        return None


def threshold_curve(
    dataset: TaggedDataset,
    store: CamStore,
    settings: ScoreSettings,
    *,
    unusable: list[str],
    broken: list[str] | None = None,
) -> Curve | None:
    """The threshold curve over all photos with a usable mask; None where there is none.

    unusable: gets a line a mask of no use. broken: gets a line a CAM file of no use; without it the first one raises.
    """
    accumulator = CurveAccumulator(len(dataset.classes), threshold_range(settings.curve_start, settings.curve_end))
    for item, truth in truths(dataset, unusable):
        found = attempt(partial(_read_winner, store, item, truth.shape, classes=len(dataset.classes)), broken)
        if found is not None:
            winner, value = (nearest(values, truth.shape) for values in found)
            accumulator.add(truth, winner, value, where=str(item.mask))
    return accumulator.result() if accumulator.pixels else None


def _read_winner(store: CamStore, item: Item, shape: tuple[int, ...], *, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Winning label and its CAM at every pixel of a stored photo; `shape` stands in where the file has no size."""
    return winner_map(*read_cams(store, item, shape, classes=classes))


def read_cams(
    store: CamStore, item: Item, shape: tuple[int, ...], *, classes: int = MAX_CLASS + 1
) -> tuple[Cams, tuple[int, int]]:
    """CAMs of a stored photo, one of `classes`, and their (H,W); `shape` stands in where the file has no size.

    Raises UnusableFile naming a file that is missing, broken, or of other classes.
    """
    cams, stored = store.read_with_shape(item.id)
    for index in cams:
        if not 0 <= index < classes:
            raise UnusableFile(f"CAMs of {item.id}: class index {index} is outside 0..{classes - 1}, the class list")
    return cams, stored or (shape[0], shape[1])


def write_labels(
    dataset: TaggedDataset,
    items: Sequence[Item],
    store: CamStore,
    folder: Path,
    *,
    method: LabelMethod,
    thresholds: Thresholds,
    size: Callable[[Item], tuple[int, int]],
    regions: Callable[[Item], Regions],
    features: Callable[[Item], NDArray[np.float32]],
    broken: list[str] | None = None,
) -> None:
    """Labels `folder`/ID.png and confidences `folder`/confidence/ID.png, of the photo's own size, for all of `items`.

    `size`: (width, height) of a photo. `regions`, `features`: of a photo; asked only where the method needs them.
    The labels are written last: where they are there, both are. `broken`: gets a line a photo or CAM file of no use;
    without it the first one raises UnusableFile.
    """
    check_names(items)
    check_thresholds(thresholds, num_classes=len(dataset.classes))

    def given(item: Item) -> LabelInput:
        width, height = size(item)
        cams, shape = read_cams(store, item, (height, width), classes=len(dataset.classes))
        return LabelInput(
            id=item.id,
            cams=cams,
            shape=shape,
            size=(height, width),
            tags=item.tags,
            photo=partial(dataset.photo, item),
            regions=partial(regions, item),
            features=partial(features, item),
        )

    def label(item: Item) -> Labelled:
        return method.label(given(item), thresholds)

    if items and method.learns:
        skipped = None if broken is None else list[str]()  # those to be labelled come up again
        method.fit(one for item in dataset.items if (one := attempt(partial(given, item), skipped)) is not None)
    for item in track(items, label="labels"):
        found = attempt(partial(label, item), broken)
        if found is not None:
            write_confidence_png(folder / CONFIDENCE / f"{item.id}.png", found.confidence)
            write_label_png(folder / f"{item.id}.png", found.labels)


def method_of(recipe: Recipe, *, num_classes: int) -> LabelMethod:
    """The label method of the recipe."""
    return make_label_method(recipe.labels, regions=recipe.regions, crf=recipe.crf, num_classes=num_classes)


def fresh_features(context: Context, dataset: TaggedDataset) -> Callable[[Item], NDArray[np.float32]]:
    """The frozen features of photos, made when they are asked for and not stored."""

    @cache
    def make() -> Features:
        from semples.features.base import make_features

        return make_features(context.recipe.features, device=context.engine.device)

    return lambda item: make()(dataset.photo(item))


def score_labels(
    dataset: TaggedDataset, folder: Path, *, unusable: list[str], broken: list[str] | None = None
) -> Scores | None:
    """Scores of a folder of label PNGs over all photos with a usable mask; None where there is none.

    unusable: gets a line a mask of no use. broken: gets a line a label map of no use; without it the first one raises.
    """
    classes = len(dataset.classes)
    confusion = np.zeros((classes + 1, classes + 2), np.int64)  # the last column: pixels that a label map leaves open

    def compare(path: Path, truth: np.ndarray) -> np.ndarray:
        if not path.is_file():
            raise UnusableFile(f"{path}: no such label map; make the labels of this photo first")
        labels = read_label_png(path)
        check_same_size(truth, labels, where=str(path))
        return confusion_matrix(truth, labels, num_classes=classes, where=str(path))

    for item, truth in truths(dataset, unusable):
        found = attempt(partial(compare, folder / f"{item.id}.png", truth), broken)
        if found is not None:
            confusion += found
    return scores_from_confusion(confusion) if confusion.any() else None


# ------------------------------------------------------------------------------------------------------------- steps


def _label_inputs(context: Context) -> dict[str, Any]:
    recipe = context.recipe
    settings = recipe.labels
    found: dict[str, Any] = {"method": settings.method, "min_confidence": settings.min_confidence}
    if REGIONS in label_needs(settings.method):
        found["regions"] = scoring_inputs(recipe.regions)
    if FEATURES in label_needs(settings.method):
        found["features"] = features_inputs(recipe.features)
    if has_crf(settings.method):
        found["crf"] = to_dict(recipe.crf)
    return found | threshold_inputs(context)


def _run_labels(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    chosen = chosen_threshold(context)
    recipe, dataset = context.recipe, context.dataset
    mine = dataset.items[context.rank :: context.processes]
    sizes = photo_sizes(context.folder("data"))
    write_labels(
        dataset,
        [item for item in mine if not (folder / f"{item.id}.png").is_file()],
        CamStore(context.folder(cams_name()), format=recipe.cams.format),
        folder,
        method=method_of(recipe, num_classes=len(dataset.classes)),
        thresholds=chosen.applied,
        size=lambda item: sizes[item.id],
        regions=partial(stored_regions, context),
        features=fresh_features(context, dataset),
    )
    return {
        "photos": len(dataset.items),
        "method": recipe.labels.method,
        "threshold": chosen.threshold,
        "select": recipe.labels.select,
    } | ({} if chosen.per_class is None else {"thresholds": [round(float(x), 2) for x in chosen.per_class]})


def _run_scores(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    if not context.is_main:
        return {}
    dataset, unusable = context.scored_dataset, list[str]()
    scores = score_labels(dataset, context.folder("labels"), unusable=unusable)
    if scores is None:
        return _counted(dataset, unusable)
    names = dataset.classes.names
    curve = read_json(context.folder(curve_name()) / CURVE_FILE)
    threshold = read_json(context.folder("labels") / "manifest.json")["result"]["threshold"]
    labels = {"threshold": threshold, "select": context.recipe.labels.select, **scores.as_json(names)}
    write_json(folder / SCORES, {"labels": labels, "cams": curve})
    return _counted(dataset, unusable) | {"miou": scores.miou, "threshold": threshold}


def _counted(dataset: TaggedDataset, unusable: list[str]) -> dict[str, Any]:
    """How many photos were scored, and which masks were of no use."""
    masks = sum(item.mask is not None for item in dataset.items)
    return {"photos": masks - len(unusable)} | ({"unusable_masks": unusable} if unusable else {})
