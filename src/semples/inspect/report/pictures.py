"""The pictures of a report: which photos are shown, how sure their labels are, and their bytes inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from semples.cams.store import Cams, CamStore
from semples.core.errors import UserError
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.data.dataset import Item, TaggedDataset
from semples.evaluation.confusion import IGNORE, confusion_matrix, scores_from_confusion
from semples.inspect.report.levels import STEPS, cam_bytes, steps_below
from semples.labels.threshold import label_map, winner_map

BUDGET = 14_000_000  # bytes of all pictures together, for up to USUAL photos; more photos get more
USUAL = 200
CANDIDATES = 10  # of a larger dataset, this many times the limit are looked at
SIZES = ((448, 224), (384, 192), (352, 160), (320, 128), (256, 96), (192, 64), (128, 48))  # photo, maps: longest side
FIRST_LOOK = 20  # photos after which sizes that would need more than the budget are given up
WEBP_LIMIT = 16_000  # pixels a WebP may be high
MARGIN = 0.1  # a pixel is sure when it is this far above the threshold and above the next class


@dataclass(frozen=True)
class Sources:
    """Where a run's pictures are.

    stores: {stage: CAMs}, in the order of training, of the stages that have any; the last is the one that labels are
    made of. labels: folder of label maps, or None. threshold: the background threshold in use, 0..1.
    """

    dataset: TaggedDataset
    stores: Mapping[str, CamStore]
    labels: Path | None
    threshold: float
    corrected: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def last(self) -> CamStore:
        """CAMs of the last stage that has any."""
        return list(self.stores.values())[-1]


@dataclass
class Gallery:
    """What the page gets.

    photos: one dictionary a photo, ready for JSON. counts: {(truth, winner, steps): pixels} of the last stage at the
    resolution of the page, where truth is 0..K or K + 1 for unknown and steps the number of thresholds in hundredths
    below the winner's CAM. sample: how the photos were chosen, empty where all are shown. skipped: photos that could
    not be read. reduced: whether maps were made smaller than the photos.
    """

    photos: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[tuple[int, int, int], int] = field(default_factory=dict)
    sample: str = ""
    skipped: int = 0
    reduced: bool = False


def make_gallery(sources: Sources, *, limit: int) -> Gallery:
    """Choose at most `limit` photos and encode them, as large as the byte budget allows."""
    items, ranks, sample = choose(sources, limit=limit)
    budget = BUDGET * max(1.0, len(items) / USUAL)
    for photo_side, map_side in SIZES:
        gallery = _encode(sources, items, ranks, photo_side=photo_side, map_side=map_side, budget=budget)
        if gallery is not None:
            break
    else:  # even the smallest is too much: so be it
        gallery = _encode(sources, items, ranks, photo_side=SIZES[-1][0], map_side=SIZES[-1][1], budget=np.inf)
    assert gallery is not None
    gallery.sample = sample
    return gallery


# ----------------------------------------------------------------------------------------------------------- choice


@dataclass(frozen=True)
class Rank:
    """certainty: share of the (nearly) labelled area that is sure, 0..1; iou: mean IoU of the photo's label map over
    the values in it or in the truth, percent. None where unknown."""

    certainty: float | None = None
    iou: float | None = None

    @property
    def hardness(self) -> float:
        """Small for photos worth a look: the IoU where the truth is known, else the certainty, in percent."""
        if self.iou is not None:
            return self.iou
        return 100.0 if self.certainty is None else 100 * self.certainty


def choose(sources: Sources, *, limit: int) -> tuple[list[Item], dict[str, Rank], str]:
    """The photos to show, in the dataset's order, their ranks, and a sentence on how they were chosen.

    Of more than `limit` photos, evenly drawn candidates are ranked; half of the places go to the hardest, half in turn
    to every class.
    """
    items = sources.dataset.items
    if len(items) <= limit:
        return list(items), _rank_all(sources, items), ""
    count = min(len(items), CANDIDATES * limit)
    candidates = [items[round(place)] for place in np.linspace(0, len(items) - 1, count)]
    ranks = _rank_all(sources, candidates)
    hardest = sorted(candidates, key=lambda item: ranks[item.id].hardness)[: limit // 2]
    taken = {item.id for item in hardest}
    spread = _in_turn([item for item in candidates if item.id not in taken], limit - len(hardest))
    taken |= {item.id for item in spread}
    by_iou = any(rank.iou is not None for rank in ranks.values())
    among = "" if count == len(items) else f" among {count:,} evenly drawn ones"
    sentence = (
        f"{limit:,} of {len(items):,} photos: the {len(hardest):,} with the "
        f"{'lowest IoU' if by_iou else 'least certain labels'}{among}, and {len(spread):,} taken in turn from every "
        "class. Figures that move with the slider count these photos only, so they look worse than the whole run."
    )
    return [item for item in candidates if item.id in taken], ranks, sentence


def _in_turn(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items, one of every class in turn, photos without a tag as a class of their own."""
    queues: dict[int, list[Item]] = {}
    for item in reversed(items):
        for tag in item.tags or (-1,):
            queues.setdefault(tag, []).append(item)
    taken: dict[str, Item] = {}
    while len(taken) < count and any(queues.values()):
        for tag in sorted(queues):
            while queues[tag] and queues[tag][-1].id in taken:
                queues[tag].pop()
            if queues[tag] and len(taken) < count:
                item = queues[tag].pop()
                taken[item.id] = item
    return list(taken.values())


def _rank_all(sources: Sources, items: Iterable[Item]) -> dict[str, Rank]:
    return {item.id: _rank(sources, item) for item in track(list(items), label="ranking photos")}


def _rank(sources: Sources, item: Item) -> Rank:
    cams = _cams(sources.last, item) if sources.stores else None
    truth, labels = _truth(sources.dataset, item), _labels(sources, item)
    if labels is None and cams:
        shape = next(iter(cams.values())).shape
        labels = label_map(cams, (shape[0], shape[1]), threshold=sources.threshold)
    iou = None
    if truth is not None and labels is not None:
        labels = _nearest(labels, (truth.shape[1], truth.shape[0]))
        confusion = confusion_matrix(truth, labels, num_classes=len(sources.dataset.classes), where=item.id)
        figure = scores_from_confusion(confusion).miou
        iou = None if np.isnan(figure) else round(float(figure), 2)
    return Rank(None if not cams else round(certainty(cams, sources.threshold), 4), iou)


def certainty(cams: Cams, threshold: float) -> float:
    """Share of the area above `threshold` - 0.1 that is above `threshold` + 0.1 and 0.1 above the next class; 0..1.

    Own measure, in the manner of the stability score of Segment Anything (arXiv 2304.02643, sec. 5).
    """
    ordered = np.sort(np.stack(list(cams.values())), axis=0)
    top = ordered[-1]
    following = ordered[-2] if len(ordered) > 1 else np.full_like(top, -1)
    near = np.count_nonzero(top > threshold - MARGIN)
    sure = np.count_nonzero((top > threshold + MARGIN) & (top - following > MARGIN))
    return sure / near if near else 1.0


# --------------------------------------------------------------------------------------------------------- encoding


def _encode(
    sources: Sources,
    items: Sequence[Item],
    ranks: Mapping[str, Rank],
    *,
    photo_side: int,
    map_side: int,
    budget: float,
) -> Gallery | None:
    """All photos at these sizes, or None as soon as they need more bytes than the budget.

    The maps of the last stage are exact, those of earlier stages compressed to a third (within about 0.05).
    """
    gallery, used = Gallery(), 0
    last = list(sources.stores)[-1] if sources.stores else None
    for item in track(items, label=f"pictures of {photo_side} pixels"):
        try:
            photo = Image.fromarray(sources.dataset.photo(item))
        except UserError:
            gallery.skipped += 1
            continue
        shown = fit(photo.size, photo_side)
        size = fit(photo.size, map_side)
        gallery.reduced |= size != photo.size
        small = photo if shown == photo.size else photo.resize(shown, Image.Resampling.LANCZOS)
        cams = {stage: _resized(_cams(store, item), size) for stage, store in sources.stores.items()}
        truth, labels = _truth(sources.dataset, item), _labels(sources, item)
        entry: dict[str, Any] = {
            "id": item.id,
            "tags": list(item.tags),
            "size": list(shown),
            "grid": list(size),
            "photo": data_uri(small, lossless=False),
            "cams": [_cams_entry(layers, exact=stage == last) for stage, layers in cams.items()],
            "labels": None if labels is None else data_uri(Image.fromarray(_nearest(labels, size)), lossless=True),
            "truth": None if truth is None else data_uri(Image.fromarray(_nearest(truth, size)), lossless=True),
            "certainty": ranks[item.id].certainty,
            "iou": ranks[item.id].iou,
            "corrected": item.id in sources.corrected,
        }
        gallery.photos.append(entry)
        used += _text_bytes(entry)
        done = len(gallery.photos) / len(items)
        if used > budget or (len(gallery.photos) >= FIRST_LOOK and used > 1.15 * budget * done):
            return None
        if last is not None:
            _count(gallery.counts, cams[last], size, truth, classes=len(sources.dataset.classes))
    return gallery


def _cams_entry(cams: Cams | None, *, exact: bool) -> dict[str, Any] | None:
    """The maps of one stage below each other in one grey picture, and their classes in that order."""
    if cams is None:
        return None
    if not cams:
        return {"classes": [], "picture": None}
    levels = cam_bytes(cams)
    stacked = Image.fromarray(levels.reshape(-1, levels.shape[2]))
    return {"classes": [int(index) for index in cams], "picture": data_uri(stacked, lossless=exact, quality=85)}


def _count(
    counts: dict[tuple[int, int, int], int],
    cams: Cams | None,
    size: tuple[int, int],
    truth: NDArray[np.uint8] | None,
    *,
    classes: int,
) -> None:
    """Add a photo to `Gallery.counts`."""
    if cams is None:
        return
    winner, value = winner_map(cams, (size[1], size[0]))
    steps = steps_below(value)
    if truth is None:
        true_value = np.full(winner.shape, classes + 1)
    else:
        true_value = _nearest(truth, size).astype(np.intp)
        true_value[true_value == IGNORE] = classes + 1
    fused = (true_value * (classes + 1) + winner) * (STEPS + 2) + steps
    keys, pixels = np.unique(fused, return_counts=True)
    for key, count in zip(keys.tolist(), pixels.tolist(), strict=True):
        place = (*divmod(key // (STEPS + 2), classes + 1), key % (STEPS + 2))
        counts[place] = counts.get(place, 0) + count


def fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) with the longest side at most `side`, never enlarged."""
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def data_uri(image: Image.Image, *, lossless: bool, quality: int = 76) -> str:
    """The picture as a `data:` address: WebP where this Pillow can write it, else PNG or JPEG."""
    buffer = io.BytesIO()
    if features.check("webp") and image.height <= WEBP_LIMIT:
        kind = "webp"
        image.save(buffer, "WEBP", lossless=lossless, quality=60 if lossless else quality, method=4)
    elif lossless:
        kind = "png"
        image.save(buffer, "PNG", optimize=True)
    else:
        kind = "jpeg"
        image.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text_bytes(entry: Mapping[str, Any]) -> int:
    pictures = [entry["photo"], entry["labels"], entry["truth"], *(cam and cam["picture"] for cam in entry["cams"])]
    return sum(len(picture) for picture in pictures if picture) + 200


# ---------------------------------------------------------------------------------------------------------- reading


def _cams(store: CamStore, item: Item) -> Cams | None:
    return store.read(item.id) if store.has(item.id) else None


def _truth(dataset: TaggedDataset, item: Item) -> NDArray[np.uint8] | None:
    """The mask, or None where there is none that can be read."""
    try:
        return dataset.mask(item)
    except UserError:
        return None


def _labels(sources: Sources, item: Item) -> NDArray[np.uint8] | None:
    if item.id in sources.corrected:
        return sources.corrected[item.id]
    path = None if sources.labels is None else place_of(sources.labels, item.id, ".png")
    return None if path is None or not path.is_file() else read_label_png(path)


def _resized(cams: Cams | None, size: tuple[int, int]) -> Cams | None:
    """The maps at (width, height), by area where they shrink."""
    if cams is None:
        return None
    return {index: _smooth(cam, size) for index, cam in cams.items()}


def _smooth(cam: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if (cam.shape[1], cam.shape[0]) == size:
        return cam
    return np.asarray(Image.fromarray(cam).resize(size, Image.Resampling.BILINEAR), np.float32)


def _nearest(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if (labels.shape[1], labels.shape[0]) == size:
        return labels
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
