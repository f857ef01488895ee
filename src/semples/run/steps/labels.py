"""The steps after the CAMs: threshold curve, label maps, scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.data.dataset import Item, TaggedDataset
from semples.labels.base import FEATURES, REGIONS, LabelMethod, nothing_given
from semples.labels.make import make_label_method
from semples.labels.regions import Regions, read_regions
from semples.recipe import CrfSettings, RegionSettings
from semples.run.folder import result_of
from semples.run.label_maps import FreshFeatures, Inputs, write_labels
from semples.run.photos import photo_sizes
from semples.run.scoring import score_labels, threshold_curve
from semples.run.step import Step
from semples.run.steps.cams import name as cams_name
from semples.run.threshold import CURVE_FILE, LAST, chosen_threshold, curve_name
from semples.run.work import Work
from semples.settings.kinds import has_crf, label_needs

SCORES = "scores.json"
# How the threshold is found: read where it is looked for (`run.threshold`), not where labels are drawn.
ABOUT_THRESHOLD = ("threshold", "select", "per_class", "class_thresholds")


def curve_step(stage: str = LAST) -> Step:
    """Scores of the CAMs at every background threshold."""

    def run(work: Work) -> dict[str, Any]:
        dataset, settings, unusable = work.scored_dataset, work.settings("scores"), list[str]()
        folder = work.step(cams_name(stage))
        if not work.is_main:
            return {}
        store = CamStore(folder, format=work.setting("cams.format"))
        curve = threshold_curve(dataset, store, settings, unusable=unusable)
        if curve is None:
            return _counted(dataset, unusable)
        write_json(work.folder / CURVE_FILE, curve.as_json(dataset.classes.names))
        return _counted(dataset, unusable) | {
            "best_miou": curve.best.scores.miou,
            "best_threshold": curve.best.threshold,
        }

    about = f"scores of the CAMs after {stage} over background thresholds"
    return Step(curve_name(stage), about, ("data", cams_name(stage)), run)


def labels_step() -> Step:
    """Label maps at the background threshold."""
    return Step("labels", "label maps", ("data", "cams", "regions", "selection", "curve"), _run_labels)


def scores_step() -> Step:
    """Scores of the label maps."""
    return Step("scores", "scores of the label maps against masks", ("data", "labels", "curve"), _run_scores)


def label_method(work: Work) -> LabelMethod:
    """The label method of the recipe, and all that it looks at."""
    settings = work.settings("labels", leave_out=ABOUT_THRESHOLD)
    regions = work.settings("regions") if REGIONS in label_needs(settings.method) else RegionSettings()
    crf = work.settings("crf") if has_crf(settings.method) else CrfSettings()
    return make_label_method(settings, regions=regions, crf=crf, num_classes=len(work.dataset.classes))


def label_inputs(work: Work) -> Inputs:
    """What the label method is told of the run's photos."""
    dataset, needs = work.dataset, label_needs(work.setting("labels.method"))
    regions: Callable[[Item], Regions] = _not_needed
    features: Callable[[Item], NDArray[np.float32]] = _not_needed
    # Read here, not when a photo is first asked for: where all photos are done already, the step depends on them too.
    if REGIONS in needs:
        regions = partial(_stored_regions, work.step("regions"))
    if FEATURES in needs:
        features = FreshFeatures(dataset, work.settings("features"), lambda: work.device)
    cams = CamStore(work.step("cams"), format=work.setting("cams.format"))
    return Inputs(dataset, cams, regions=regions, features=features)


def _stored_regions(folder: Path, item: Item) -> Regions:
    return read_regions(folder, item.id)


def _not_needed(item: Item) -> NoReturn:
    nothing_given()


def _run_labels(work: Work) -> dict[str, Any]:
    chosen = chosen_threshold(work)
    method, inputs, dataset = label_method(work), label_inputs(work), work.dataset
    sizes = photo_sizes(work.step("data"))
    mine = dataset.items[work.rank :: work.processes]
    write_labels(
        [item for item in mine if not (work.folder / f"{item.id}.png").is_file()],
        inputs,
        work.folder,
        method=method,
        thresholds=chosen.applied,
        size=lambda item: sizes[item.id],
    )
    return {
        "photos": len(dataset.items),
        "method": work.setting("labels.method"),
        "threshold": chosen.threshold,
        "select": work.setting("labels.select"),
    } | ({} if chosen.per_class is None else {"thresholds": [round(float(x), 2) for x in chosen.per_class]})


def _run_scores(work: Work) -> dict[str, Any]:
    dataset, unusable = work.scored_dataset, list[str]()
    folder = work.step("labels")
    if not work.is_main:
        return {}
    scores = score_labels(dataset, folder, unusable=unusable)
    if scores is None:
        return _counted(dataset, unusable)
    curve = read_json(work.step("curve") / CURVE_FILE)
    made = result_of(folder)
    labels = {"threshold": made["threshold"], "select": made["select"], **scores.as_json(dataset.classes.names)}
    write_json(work.folder / SCORES, {"labels": labels, "cams": curve})
    return _counted(dataset, unusable) | {"miou": scores.miou, "threshold": made["threshold"]}


def _counted(dataset: TaggedDataset, unusable: list[str]) -> dict[str, Any]:
    """How many photos were scored, and which masks were of no use."""
    masks = sum(item.mask is not None for item in dataset.items)
    return {"photos": masks - len(unusable)} | ({"unusable_masks": unusable} if unusable else {})
