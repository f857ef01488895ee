"""The steps after the CAMs: threshold curve, label maps, scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from semples.cam_store import Cams, CamStore
from semples.data.dataset import Item, PhotoError, TaggedDataset
from semples.errors import UserError
from semples.evaluation.confusion import Scores, check_same_size, confusion_matrix, scores_from_confusion
from semples.evaluation.curve import Curve, CurveAccumulator, threshold_range
from semples.files import read_json, write_json
from semples.masks.labelling import Labeller, check_thresholds, nearest
from semples.masks.regions import Regions, Thresholds
from semples.masks.threshold import MAX_CLASS, winner_map
from semples.palette import read_label_png, write_confidence_png, write_label_png
from semples.progress import track
from semples.recipe import Recipe, ScoreSettings
from semples.schema import to_dict
from semples.steps.base import Context, Step
from semples.steps.cams import LAST
from semples.steps.cams import name as cams_name
from semples.steps.data import mask_inputs, photo_sizes
from semples.steps.regions import scoring_inputs, stored_regions
from semples.steps.threshold import CURVE_FILE, chosen_threshold, threshold_inputs

SCORES = "scores.json"
CONFIDENCE = "confidence"  # folder below the label maps


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


def threshold_curve(
    dataset: TaggedDataset, store: CamStore, settings: ScoreSettings, *, unusable: list[str]
) -> Curve | None:
    """The threshold curve over all photos with a usable mask; None where there is none."""
    accumulator = CurveAccumulator(len(dataset.classes), threshold_range(settings.curve_start, settings.curve_end))
    for item, truth in truths(dataset, unusable):
        winner, value = read_winner(store, item, truth.shape)
        winner, value = nearest(winner, truth.shape), nearest(value, truth.shape)
        accumulator.add(truth, winner, value, where=str(item.mask))
    return accumulator.result() if accumulator.pixels else None


def read_winner(store: CamStore, item: Item, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Winning label and its CAM at every pixel of a stored photo; `shape` stands in where the file has no size."""
    return winner_map(*read_cams(store, item, shape))


def read_cams(store: CamStore, item: Item, shape: tuple[int, ...]) -> tuple[Cams, tuple[int, int]]:
    """CAMs of a stored photo and their (H,W); `shape` stands in where the file has no size."""
    cams, stored = store.read_with_shape(item.id)
    if cams and max(cams) > MAX_CLASS:
        raise UserError(f"CAMs of {item.id}: class index {max(cams)} is out of range")
    return cams, stored or (shape[0], shape[1])


def write_labels(
    dataset: TaggedDataset,
    items: Sequence[Item],
    store: CamStore,
    folder: Path,
    *,
    labeller: Labeller,
    sizes: Mapping[str, tuple[int, int]],
    regions: Callable[[Item], Regions],
) -> None:
    """Labels `folder`/ID.png and confidences `folder`/confidence/ID.png, of the photo's own size, for all of `items`.

    `sizes`: (width, height) of the photos. `regions`: of one photo; asked only where the labeller's method needs them.
    The labels are written last: where they are there, both are.
    """
    check_names(items)
    for item in track(items, label="labels"):
        width, height = sizes[item.id]
        cams, shape = read_cams(store, item, (height, width))
        found = labeller(
            cams,
            shape=shape,
            size=(height, width),
            tags=item.tags,
            photo=partial(dataset.photo, item),
            regions=partial(regions, item),
        )
        write_confidence_png(folder / CONFIDENCE / f"{item.id}.png", found.confidence)
        write_label_png(folder / f"{item.id}.png", found.labels)


def make_labeller(recipe: Recipe, thresholds: Thresholds, *, num_classes: int) -> Labeller:
    """The labeller of the recipe with these background thresholds: one, or one for each class."""
    check_thresholds(thresholds, num_classes=num_classes)
    return Labeller(recipe.labels, thresholds=thresholds, regions=recipe.regions, crf=recipe.crf)


def score_labels(dataset: TaggedDataset, folder: Path, *, unusable: list[str]) -> Scores | None:
    """Scores of a folder of label PNGs over all photos with a usable mask; None where there is none."""
    classes = len(dataset.classes)
    confusion = np.zeros((classes + 1, classes + 2), np.int64)  # the last column: pixels that a label map leaves open
    for item, truth in truths(dataset, unusable):
        path = folder / f"{item.id}.png"
        if not path.is_file():
            raise UserError(f"{path}: no such label map; make the labels of this photo first")
        labels = read_label_png(path)
        check_same_size(truth, labels, where=str(path))
        confusion += confusion_matrix(truth, labels, num_classes=classes, where=str(path))
    return scores_from_confusion(confusion) if confusion.any() else None


# ------------------------------------------------------------------------------------------------------------- steps


def _label_inputs(context: Context) -> dict[str, Any]:
    recipe = context.recipe
    settings = recipe.labels
    found: dict[str, Any] = {"method": settings.method, "min_confidence": settings.min_confidence}
    if settings.uses_regions:
        found["regions"] = scoring_inputs(recipe.regions)
    if settings.uses_crf:
        found["crf"] = to_dict(recipe.crf)
    return found | threshold_inputs(context)


def _run_labels(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
    chosen = chosen_threshold(context)
    recipe, dataset = context.recipe, context.dataset
    mine = dataset.items[context.rank :: context.processes]
    write_labels(
        dataset,
        [item for item in mine if not (folder / f"{item.id}.png").is_file()],
        CamStore(context.folder(cams_name()), format=recipe.cams.format),
        folder,
        labeller=make_labeller(recipe, chosen.applied, num_classes=len(dataset.classes)),
        sizes=photo_sizes(context.folder("data")),
        regions=partial(stored_regions, context),
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
