"""Scores of a model's label maps of photos with masks, and a picture of what it takes for what."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from semples.core.errors import UserError
from semples.core.files import atomic_path
from semples.core.progress import counter
from semples.core.ranks import ALONE, Ranks
from semples.data.dataset import ClassList, PhotoError, Problem, TaggedDataset, open_dataset
from semples.data.listfile import NoSuchList
from semples.evaluation.boundary import BoundaryAccumulator
from semples.evaluation.confusion import Scores, confusion_matrix, mean_of_known, number_or_none, scores_from_confusion
from semples.evaluation.risk import Covered, RiskCoverage
from semples.prediction.job import segment_photos
from semples.prediction.model import Model, Prepared
from semples.prediction.photos import Photo
from semples.prediction.scores import Segmented
from semples.segmenter.build import BACKGROUND

Pair = tuple[NDArray[np.uint8], Segmented]  # truth and answer of a photo


@dataclass(frozen=True)
class Evaluation:
    """Figures of a segmenter, in percent. confusion: int64 (K+1,K+2) pixels by truth and prediction; boundary: (K+1,)
    boundary IoU; unusable: what is wrong with masks and photos that could not be used, a line each; risk: what stays
    right where only sure pixels count, of a model loaded with `confidence`."""

    classes: tuple[str, ...]
    scores: Scores
    boundary: NDArray[np.float64]
    confusion: NDArray[np.int64]
    photos: int
    unusable: tuple[str, ...]
    risk: tuple[Covered, ...] = ()

    @property
    def mean_boundary(self) -> float:
        """Mean boundary IoU over the values that occur."""
        return mean_of_known(self.boundary)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        scores = self.scores.as_json(self.classes)
        for row, figure in zip(scores["classes"], self.boundary, strict=True):
            row["boundary_iou"] = number_or_none(figure)
        return {
            "photos": self.photos,
            "boundary_iou": number_or_none(self.mean_boundary),
            **scores,
            "confusion": self.confusion.tolist(),
            "unusable": list(self.unusable),
            "risk_coverage": [row.as_json() for row in self.risk],
        }


def scored_photos(
    folder: Path | str, *, split: str | None = None, classes: ClassList | Path | str | None = None
) -> TaggedDataset:
    """The photos a segmenter is scored on: those of `split`; without one the list val, or where there is none the
    list of the training photos, or all. Raises UserError."""
    if split is None:
        with suppress(NoSuchList):
            return open_dataset(folder, split="val", classes=classes)
    return open_dataset(folder, split=split, classes=classes)


def evaluate(model: Model, dataset: TaggedDataset, *, ranks: Ranks = ALONE) -> Evaluation:
    """Segment every photo that has a mask as `predict` does, without its tags, and compare.

    ranks: the processes that share the photos; each of them calls this and gets the answer.
    Raises UserError where no photo has a mask, and for a model that needs tags or has other classes.
    """
    if model.needs_tags:
        raise UserError("this run has no trained segmenter to score; train one: semples segment train RUN")
    if model.classes != dataset.classes.names:
        raise UserError(
            f"{dataset.root}: {len(dataset.classes)} classes ({', '.join(dataset.classes.names[:3])} ...), but the "
            f"segmenter knows {len(model.classes)} ({', '.join(model.classes[:3])} ...); "
            "name the segmenter's class list with --classes"
        )
    items = {item.id: item for item in dataset.items if item.mask is not None}
    count = len(model.classes)
    confusion = np.zeros((count + 1, count + 2), np.int64)
    boundary, unusable, photos = BoundaryAccumulator(count), list[str](), 0

    risk = RiskCoverage(count) if model.confident else None

    def compare(photo: Photo, _: Prepared, answer: Segmented) -> Pair | Problem:
        try:
            truth = dataset.mask(items[photo.id])
        except PhotoError as error:
            return Problem(str(photo.path), str(error))
        assert truth is not None
        return truth, answer

    chosen = [Photo(item.id, item.id, item.photo) for item in items.values()]
    mine = ranks.share(chosen)
    with counter(label="segmenting", total=len(mine)) if ranks.is_main else nullcontext(_silent) as advance:
        for photo, compared in segment_photos(model, mine, dict.fromkeys(items), compare):
            advance("")
            if isinstance(compared, Problem):
                unusable.append(
                    compared.what if str(photo.path) in compared.what else f"{compared.where}: {compared.what}"
                )
                continue
            truth, answer = compared
            confusion += confusion_matrix(truth, answer.labels, num_classes=count, where=str(items[photo.id].mask))
            boundary.add(truth, answer.labels)
            if risk is not None and answer.confidence is not None:
                risk.add(truth, answer.labels, answer.confidence)
            photos += 1
    told = [
        photos,
        unusable,
        confusion.tolist(),
        boundary.counts.tolist(),
        [] if risk is None else risk.counts.tolist(),
    ]
    for number, others in enumerate(ranks.gather(told)):
        if number != ranks.rank:
            photos += others[0]
            unusable += others[1]
            confusion += np.array(others[2], np.int64)
            boundary.add_counts(np.array(others[3], np.int64))
            if risk is not None:
                risk.add_counts(np.array(others[4], np.int64))
    unusable.sort()
    if not photos:
        first = f"; the first problem: {unusable[0]}" if unusable else ""
        raise UserError(f"{dataset.root}: no photo has a usable mask to compare with{first}")
    return Evaluation(
        model.classes,
        scores_from_confusion(confusion),
        boundary.result(),
        confusion,
        photos,
        tuple(unusable),
        () if risk is None else risk.result(),
    )


def _silent(note: str) -> None:
    """Progress of a process that shows none."""


# ----------------------------------------------------------------------------------------------------------- picture

CELL, TEXT, GAP = 34, 13, 8


def draw_confusion(confusion: NDArray[np.int64], classes: tuple[str, ...], path: Path) -> None:
    """A PNG table: a row per true value, a column per predicted one, each cell the percentage of its row."""
    names = (BACKGROUND, *classes)
    counts = confusion[:, : len(names)]
    shares = counts / np.maximum(1, confusion.sum(1, keepdims=True))
    font = ImageFont.load_default(TEXT)
    margin = GAP + max(round(font.getlength(name)) for name in names) + GAP
    side = CELL * len(names)
    picture = Image.new("RGB", (margin + side + GAP, TEXT * 2 + margin + side + GAP), "white")
    draw = ImageDraw.Draw(picture)
    top = TEXT * 2 + margin
    draw.text((GAP, GAP), "rows: truth, columns: predicted, percent of the row", fill="black", font=font)
    for index, name in enumerate(names):
        centre = CELL * index + CELL // 2
        draw.text((margin - GAP, top + centre), name, fill="black", font=font, anchor="rm")
        _upright(picture, name, margin + centre, top - GAP, font)
        for column in range(len(names)):
            share = float(shares[index, column])
            box = (margin + CELL * column, top + CELL * index)
            draw.rectangle((*box, box[0] + CELL - 2, box[1] + CELL - 2), fill=_shade(share, right=index == column))
            if counts[index].any():
                middle = (box[0] + CELL // 2 - 1, box[1] + CELL // 2 - 1)
                fill = "white" if share > 0.55 else "black" if share >= 0.005 else "#999"
                draw.text(middle, f"{100 * share:.0f}", fill=fill, font=font, anchor="mm")
    with atomic_path(path) as temporary:
        picture.save(temporary)


def _shade(share: float, *, right: bool) -> tuple[int, int, int]:
    """White to blue on the diagonal, white to red beside it."""
    strength = share**0.5
    full = (0x1F, 0x4E, 0x9E) if right else (0xB0, 0x24, 0x24)
    red, green, blue = (round(245 + (value - 245) * strength) for value in full)
    return red, green, blue


def _upright(picture: Image.Image, text: str, centre: int, bottom: int, font: Any) -> None:
    """Text that reads upwards and ends at `bottom`."""
    strip = Image.new("RGB", (round(font.getlength(text)) + 2, TEXT + 6), "white")
    ImageDraw.Draw(strip).text((0, 2), text, fill="black", font=font)
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    picture.paste(turned, (centre - turned.width // 2, bottom - turned.height))
