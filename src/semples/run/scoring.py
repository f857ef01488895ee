"""Scores against masks: of CAMs over all background thresholds, and of label maps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from semples.cams.store import CamStore
from semples.core.errors import UnusableFile
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.core.ranks import ALONE, Ranks
from semples.data.dataset import Item, PhotoError, TaggedDataset
from semples.evaluation.confusion import Scores, check_same_size, confusion_matrix, scores_from_confusion
from semples.evaluation.curve import Curve, CurveAccumulator, threshold_range
from semples.labels.scored import nearest
from semples.labels.threshold import winner_map
from semples.recipe import ScoreSettings
from semples.run.label_maps import attempt, read_cams


def truths(dataset: TaggedDataset, unusable: list[str], *, ranks: Ranks = ALONE) -> Iterator[tuple[Item, np.ndarray]]:
    """Every photo with a mask that falls to this process, and the mask.

    unusable: gets what is wrong with masks that cannot be used, in the order of the photos; of several processes each
    gets all lines, once they have met at the end.
    """
    mine = ranks.share([item for item in dataset.items if item.mask is not None])
    wrong: list[str] = []  # a line a photo, empty for a good mask
    for item in track(mine, label="scoring"):
        try:
            truth = dataset.mask(item)
        except PhotoError as error:
            wrong.append(str(error))
            if ranks.count == 1:
                unusable.append(wrong[-1])
            continue
        wrong.append("")
        assert truth is not None
        yield item, truth
    if ranks.count > 1:
        unusable += [line for line in ranks.together(wrong) if line]


def threshold_curve(
    dataset: TaggedDataset,
    store: CamStore,
    settings: ScoreSettings,
    *,
    unusable: list[str],
    broken: list[str] | None = None,
    ranks: Ranks = ALONE,
) -> Curve | None:
    """The threshold curve over all photos with a usable mask; None where there is none.

    unusable: gets a line a mask of no use. broken: gets a line a CAM file of no use; without it the first one raises.
    ranks: the processes that share the photos; each of them gets the answer.
    """
    accumulator = CurveAccumulator(len(dataset.classes), threshold_range(settings.curve_start, settings.curve_end))
    for item, truth in truths(dataset, unusable, ranks=ranks):
        best = attempt(partial(_read_winner, store, item, truth.shape, classes=len(dataset.classes)), broken)
        if best is not None:
            winner, value = (nearest(values, truth.shape) for values in best)
            accumulator.add(truth, winner, value, where=str(item.mask))
    accumulator.counts = ranks.added(accumulator.counts)
    return accumulator.result() if accumulator.pixels else None


def _read_winner(store: CamStore, item: Item, shape: tuple[int, ...], *, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Winning label and its CAM at every pixel of a stored photo; `shape` stands in where the file has no size."""
    return winner_map(*read_cams(store, item, shape, classes=classes))


def score_labels(
    dataset: TaggedDataset,
    folder: Path,
    *,
    unusable: list[str],
    broken: list[str] | None = None,
    ranks: Ranks = ALONE,
) -> Scores | None:
    """Scores of a folder of label PNGs over all photos with a usable mask; None where there is none.

    unusable: gets a line a mask of no use. broken: gets a line a label map of no use; without it the first one raises.
    ranks: the processes that share the photos; each of them gets the answer.
    """
    classes = len(dataset.classes)
    confusion = np.zeros((classes + 1, classes + 2), np.int64)  # the last column: pixels that a label map leaves open

    def compare(path: Path, truth: np.ndarray) -> np.ndarray:
        if not path.is_file():
            raise UnusableFile(f"{path}: no such label map; make the labels of this photo first")
        labels = read_label_png(path)
        check_same_size(truth, labels, where=str(path))
        return confusion_matrix(truth, labels, num_classes=classes, where=str(path))

    for item, truth in truths(dataset, unusable, ranks=ranks):
        counts = attempt(partial(compare, place_of(folder, item.id, ".png"), truth), broken)
        if counts is not None:
            confusion += counts
    confusion = ranks.added(confusion)
    return scores_from_confusion(confusion) if confusion.any() else None
