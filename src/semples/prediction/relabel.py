"""A run's photos labelled by its own segmenter, held to their tags: label maps in the form of the run's own.

A segmenter that has learned from label maps with mistakes makes fewer of them, since these are not the same in every
photo; with the tags as a filter its label maps of the training photos can teach the next one (self-training).

DIR/relabelled.json        what the maps were made from; maps made from something else go when it changes
DIR/ID.png                 labels: 0 background, class k as k + 1
DIR/confidence/ID.png      confidences, 255 for 1
DIR/scores.json            scores against masks, where there are any
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import write_json
from semples.core.palette import write_confidence_png, write_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.evaluation.confusion import Scores
from semples.prediction.load import find_segmenter, load
from semples.run.baseline import SCORES, missing, photos_described, prepare
from semples.run.context import Context
from semples.run.label_maps import CONFIDENCE, attempt
from semples.run.scoring import score_labels

DESCRIBED, DEFAULT = "relabelled.json", "relabelled"


def relabel_run(
    context: Context, out: Path, *, model: Path | None = None, **settings: Any
) -> tuple[list[str], Scores | None]:
    """Label maps of all photos of a run by a segmenter (its own by default), tagged classes only, and their scores.

    settings: of `PredictSettings`. Returns a line a photo or mask of no use, and the scores. Raises UserError where
    there is no segmenter, it has other classes, or `out` holds something else.
    """
    place = find_segmenter(model or context.out)
    if place is None:
        raise UserError(f"{model or context.out}: no segmenter here; train one: semples segment train {context.out}")
    segmenter = load(place, **settings | {"confidence": True})
    dataset = context.scored_dataset
    names = dataset.classes.names
    if segmenter.classes != names:
        raise UserError(f"{place}: a segmenter of other classes ({', '.join(segmenter.classes[:5])} ...)")
    described = {
        "model": segmenter.identity,
        "settings": segmenter.settings.what_counts(),
        "photos": photos_described(dataset),
    }
    prepare(out, described, dataset.items, described_in=DESCRIBED, ours=out == context.out / DEFAULT)
    problems: list[str] = []
    for item in track(missing(out, dataset.items), label="relabel"):
        photo = attempt(partial(dataset.photo, item), problems)
        if photo is None:
            continue
        segmented = segmenter.segment(photo, tags=[names[tag] for tag in item.tags])
        assert segmented.confidence is not None
        write_confidence_png(place_of(out / CONFIDENCE, item.id, ".png"), segmented.confidence)
        write_label_png(place_of(out, item.id, ".png"), segmented.labels)
    scores = score_labels(dataset, out, unusable=problems, broken=problems)
    if scores is not None:
        write_json(out / SCORES, {"labels": scores.as_json(names)})
    return list(dict.fromkeys(problems)), scores
