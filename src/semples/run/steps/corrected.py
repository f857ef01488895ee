"""The threshold from corrected photos: the one whose label maps are nearest to what people have drawn.

Photos that chose it cannot score it too. The figure given is cross-validated: each photo is scored at the threshold
that the photos of the other folds choose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.progress import track
from semples.evaluation.confusion import confusion_matrix, number_or_none, scores_from_confusion
from semples.recipe import Recipe
from semples.run.labelling import label_inputs, label_method
from semples.run.names import BY_CORRECTIONS, BY_CORRECTIONS_FILE
from semples.run.step import Step
from semples.run.work import Work

FOLDS = 5
COUNTS = "counts"  # folder with a file a photo, so that a step that was cut goes on
NEEDS = (
    "labels.select corrections needs corrected photos, and there is none; take some in with `semples correct RUN FILES`"
)


def step() -> Step:
    """Choose the threshold by corrected photos."""
    about = "threshold from corrected photos"
    return Step(BY_CORRECTIONS, about, ("data", "cams", "regions"), _run, wanted=is_wanted)


def is_wanted(recipe: Recipe) -> bool:
    """Whether a run by this recipe asks corrected photos for its threshold."""
    return recipe.labels.select == "corrections"


def _run(work: Work) -> dict[str, Any]:
    dataset, given = work.dataset, work.corrected
    method = label_method(work).selecting
    tried, inputs = method.calibration.grid.tried, label_inputs(work, method.needs)
    items = [item for item in dataset.items if item.id in given]
    if not items:
        raise UserError(NEEDS)
    mine = items[work.rank :: work.processes]
    if mine and method.learns:
        method.fit(inputs.shown(item, dataset.photo(item)) for item in dataset.items)
    for item in track(mine, label="corrected photos"):
        truth = given[item.id]
        maps = method.sweep(inputs.of(item, size=(truth.shape[0], truth.shape[1])), tried)
        counts = [confusion_matrix(truth, labels, num_classes=len(dataset.classes)) for labels in maps]
        write_json(work.folder / COUNTS / f"{item.id}.json", np.stack(counts).tolist())
    work.wait()
    if not work.is_main:
        return {}
    counts_NTKK = np.array([read_json(work.folder / COUNTS / f"{item.id}.json") for item in items], np.int64)
    chosen = choose(counts_NTKK, tried)
    write_json(work.folder / BY_CORRECTIONS_FILE, chosen)
    return {"photos": len(items), "threshold": chosen["threshold"], "miou": chosen["cross_validated_miou"]}


def choose(counts_NTKK: NDArray[np.int64], tried: tuple[float, ...]) -> dict[str, Any]:
    """The threshold of the highest mIoU over all photos, the curve, and the mIoU (percent) of photos at the threshold
    that others chose; None where there is one photo only.

    counts: confusion (N,T,K+1,K+2) of N photos at T thresholds, as `confusion_matrix` gives them.
    """
    curve = [_miou(counts) for counts in counts_NTKK.sum(0)]
    folds = np.arange(len(counts_NTKK)) % min(FOLDS, len(counts_NTKK))
    held_out = np.zeros(counts_NTKK.shape[2:], np.int64)
    for fold in np.unique(folds) if len(counts_NTKK) > 1 else ():
        rest = counts_NTKK[folds != fold].sum(0)
        place = int(np.nanargmax([_miou(counts) for counts in rest]))
        held_out += counts_NTKK[folds == fold, place].sum(0)
    return {
        "threshold": tried[int(np.nanargmax(curve))],
        "photos": len(counts_NTKK),
        "cross_validated_miou": number_or_none(_miou(held_out)) if held_out.any() else None,
        "curve": {"threshold": list(tried), "miou": [number_or_none(value) for value in curve]},
    }


def _miou(counts_KK: NDArray[np.int64]) -> float:
    return float(scores_from_confusion(counts_KK).miou) if counts_KK.any() else float("nan")
