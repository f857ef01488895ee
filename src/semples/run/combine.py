"""Label maps of a run's photos combined from two or more folders of label maps, in the form of the run's own.

DIR/combined.json          what the maps were made from; maps made from something else go when it changes
DIR/ID.png                 labels: 0 background, class k as k + 1, 255 where too few agree
DIR/confidence/ID.png      confidences, 255 for 1
DIR/scores.json            scores against masks, where there are any
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semples.core.errors import UserError
from semples.core.files import write_json
from semples.core.palette import read_label_png, write_confidence_png, write_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.data.dataset import Item
from semples.evaluation.confusion import Scores
from semples.labels.combine import By, combined
from semples.labels.scored import IGNORE, Labelled
from semples.run.baseline import SCORES, missing, prepare
from semples.run.context import Context
from semples.run.label_maps import CONFIDENCE
from semples.run.photos import SEEN, folder_digest
from semples.run.scoring import score_labels

DESCRIBED, DEFAULT = "combined.json", "combined"


def source_folder(context: Context, name: str) -> Path:
    """A folder of label maps: as it is named, or within the run (`labels`, `baselines/clipseg`).

    Raises UserError where there is none.
    """
    for folder in (context.out / name, Path(name)):
        if folder.is_dir():
            return folder
    raise UserError(f"{name}: no such folder of label maps, neither here nor in {context.out}")


def combine_run(
    context: Context,
    folders: Sequence[Path],
    out: Path,
    *,
    by: By = "confidence",
    weights: Sequence[float] | None = None,
    agree: int = 1,
) -> tuple[list[str], Scores | None]:
    """Combined label maps of all photos that every folder has one of, and their scores where photos have masks.

    Returns a line a photo that is left out, and the scores. Raises UserError for fewer than two folders, weights or
    `agree` that do not fit them, an `out` that holds something else, and where no photo is left.
    """
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("combine needs two different folders of label maps or more")
    if any(folder.resolve() == out.resolve() for folder in folders):
        raise UserError(f"{out}: one of the sources; choose another --out")
    if weights is not None and (len(weights) != len(folders) or not min(weights) > 0):
        raise UserError(f"{len(weights)} weights for {len(folders)} folders; give one each, above 0")
    if not 1 <= agree <= len(folders):
        raise UserError(f"--agree {agree}: from 1 to {len(folders)}, the number of folders")
    dataset = context.scored_dataset
    described = {
        "sources": [
            [str(folder.resolve()), folder_digest(folder, context.out / SEEN, save=True)] for folder in folders
        ],
        "by": by,
        "weights": None if weights is None else list(weights),
        "agree": agree,
        "photos": [item.id for item in dataset.items],
    }
    prepare(out, described, dataset.items, described_in=DESCRIBED, ours=out == context.out / DEFAULT)
    problems: list[str] = []
    for item in track(missing(out, dataset.items), label="combine"):
        sources = _sources(folders, item, problems, classes=len(dataset.classes))
        if sources:
            labelled = combined(sources, by=by, weights=weights, agree=agree)
            write_confidence_png(place_of(out / CONFIDENCE, item.id, ".png"), labelled.confidence)
            write_label_png(place_of(out, item.id, ".png"), labelled.labels)
    if not any(place_of(out, item.id, ".png").is_file() for item in dataset.items):
        raise UserError(f"no photo has label maps in all folders; the first: {problems[0]}")
    scores = score_labels(dataset, out, unusable=problems, broken=problems)
    if scores is not None:
        write_json(out / SCORES, {"labels": scores.as_json(dataset.classes.names)})
    return list(dict.fromkeys(problems)), scores


def _sources(folders: Sequence[Path], item: Item, problems: list[str], *, classes: int) -> list[Labelled]:
    """The label maps of a photo, one a folder; none, and a line for `problems`, where one is missing or odd."""
    read: list[Labelled] = []
    for folder in folders:
        path, sure = place_of(folder, item.id, ".png"), place_of(folder / CONFIDENCE, item.id, ".png")
        if not path.is_file():
            problems.append(f"{path}: no such label map")
            return []
        try:
            labels = read_label_png(path)
            confidence: Any = read_label_png(sure) / np.float32(255) if sure.is_file() else np.ones(labels.shape)
        except UserError as error:
            problems.append(str(error))
            return []
        if confidence.shape != labels.shape or (read and labels.shape != read[0].labels.shape):
            problems.append(f"{path}: not of the size of its confidence, or of the map in {folders[0]}")
            return []
        if ((labels > classes) & (labels != IGNORE)).any():
            problems.append(f"{path}: holds a label above {classes}, the number of classes")
            return []
        read.append(Labelled(labels, confidence.astype(np.float32)))
    return read
