"""Predict many photos: decode ahead, keep the network busy, write every result at once, go on where it was cut.

labels/ID.png      label map of the photo's own size, palette PNG: 0 background, class k is k + 1
overlays/ID.jpg    the photo under the labels' colours
confidence/ID.png  where asked for, how sure each pixel is: 8-bit grey, 255 for 1
areas.csv          pixels of background and of every class (and `unsure`, where some may be), a row a photo, those of
                   earlier calls last
classes.txt        the classes in order
prediction.json    model and settings
photos.jsonl       what is done, so that a second call goes on
"""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.errors import UserError
from semples.core.everywhere import check_shared
from semples.core.files import write_bytes, write_text
from semples.core.lock import exclusive
from semples.core.palette import write_confidence_png, write_label_png
from semples.core.places import place_of
from semples.core.progress import counter
from semples.core.ranks import ALONE, Ranks
from semples.data.dataset import Problem
from semples.data.photos import PhotoError
from semples.export.overlay import overlay
from semples.prediction.journal import AREAS, CONFIDENCE, LABELS, OVERLAYS, Areas, Journal, stamp_of
from semples.prediction.load import load
from semples.prediction.model import NEEDS_TAGS, PICTURE_SIDE, Model, Prepared
from semples.prediction.photos import Photo, Tags, find_photos, known_tags
from semples.prediction.scores import Segmented
from semples.segmenter.build import BACKGROUND

ROWS = 1 << 22  # pixels counted at a time

T = TypeVar("T")


@dataclass(frozen=True)
class Predicted:
    """What came of a job.

    photos: how many have a label map now; before: those of them that an earlier call had made. problems: photos set
    aside. seconds: what this call took, and network_seconds: what the network took of it. photos_with: in how many
    photos each class was found, and share: its share of all pixels, 0..1. ids: of the photos with a label map now.
    """

    out: Path
    classes: tuple[str, ...]
    photos: int
    before: int
    problems: tuple[Problem, ...]
    seconds: float
    network_seconds: float
    photos_with: tuple[int, ...]
    share: tuple[float, ...]
    ids: tuple[str, ...] = ()

    @property
    def problem_lines(self) -> list[str]:
        """The photos set aside, a line each."""
        return [f"{problem.where}: {problem.what}" for problem in self.problems]

    @property
    def photos_per_second(self) -> float:
        """Photos of this call per second, decoding and writing included."""
        return (self.photos - self.before) / max(self.seconds, 1e-9)

    @property
    def network_share(self) -> float:
        """Share of the time that the network was computing, 0..1."""
        return self.network_seconds / max(self.seconds, 1e-9)


def predict(
    model: Model | Path | str,
    photos: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    tags: str | Path | Sequence[str] | None = None,
    ranks: Ranks = ALONE,
    **settings: Any,
) -> Predicted:
    """Segment photos into the folder `out` (its files: see this module).

    model: from `semples.load`, or its folder with `settings` (scales, mirror, window, stride, crf, confidence,
    min_confidence, opacity, batch, workers, max_megapixels: `PredictSettings`).
    photos: files, folders and patterns. tags: words for all photos or a tags file; no other class is then found.
    ranks: the processes that share the photos; each of them calls this and gets the answer.
    A photo that cannot be used is a problem of the answer, and the others are done. A second call does what is missing.

    Raises UserError: no model, no photo, an unknown tag, `out` holds something else, another program writes there, the
    disk is full, some of the processes do not see `out`.
    """
    if not isinstance(model, Model):
        model = load(model, **settings)
    elif settings:
        raise UserError("predict: this model is loaded; give its settings to semples.load")
    out = Path(out).expanduser()
    refused: list[Problem] = []
    chosen = find_photos([photos] if isinstance(photos, Path | str) else photos, outside=out, refused=refused)
    if tags is None and model.needs_tags:
        raise UserError(
            "this run has no trained segmenter, and its CAM model needs to know each photo's tags; " + NEEDS_TAGS
        )
    with ExitStack() as stack:

        def first() -> Journal:
            stack.enter_context(exclusive(out, what="another prediction"))
            return Journal(out, model)

        journal = ranks.first(first)
        if ranks.count > 1:
            check_shared(out, ranks)
        journal = journal or Journal(out, model, rank=ranks.rank)
        return _predict(model, journal, chosen, tags, out, refused, ranks)


def _predict(
    model: Model,
    journal: Journal,
    chosen: list[Photo],
    tags: str | Path | Sequence[str] | None,
    out: Path,
    refused: list[Problem],
    ranks: Ranks,
) -> Predicted:
    """What this process has to do of it, and what came of all."""
    chosen = journal.named(chosen)
    known = known_tags(tags, chosen, model.classes)
    journal.check(chosen)
    journal.number(chosen)
    stamps = {photo.id: stamp_of(photo, known.by_id[photo.id]) for photo in chosen if photo.id in known.by_id}
    todo = [photo for photo in chosen if photo.id in stamps and not journal.has(photo.id, stamps[photo.id])]
    before = len(stamps) - len(todo)
    problems = dict(known.problems)
    begin, network = time.perf_counter(), model.network_seconds

    def write(photo: Photo, prepared: Prepared, segmented: Segmented) -> Areas:
        return _write(out, photo, prepared, segmented, model)

    ranks.wait()  # until all have read what is done
    mine = ranks.share(todo)
    with journal, _progress(ranks, before=before, mine=len(mine)) as advance:
        for photo, result in segment_photos(model, mine, known.by_id, write):
            if isinstance(result, Problem):
                problems[photo.id] = result
            else:
                journal.add(photo, stamps[photo.id], result)
            advance()
    for told in ranks.gather({id: [problem.where, problem.what] for id, problem in problems.items()}):
        problems |= {id: Problem(*problem) for id, problem in told.items()}
    if ranks.is_main:
        journal.join()
    ranks.wait()
    journal.read()
    seconds = time.perf_counter() - begin
    done = [photo for photo in chosen if photo.id in stamps and photo.id not in problems]
    areas = [journal.areas(photo.id) for photo in done]
    rows = {photo.id: (photo.name, journal.areas(photo.id)) for photo in done}
    for id, name in journal.others(chosen):
        rows[id] = (name, journal.areas(id))
    if ranks.is_main:
        write_text(out / AREAS, _table(rows.values(), model))
    whole = np.array(areas, np.int64).reshape(len(areas), -1) if areas else np.zeros((0, 1), np.int64)
    total = (
        np.zeros((len(areas), len(model.classes) + 1), np.int64) if not areas else whole[:, : len(model.classes) + 1]
    )
    pixels = max(1, int(whole.sum()))
    return Predicted(
        out=out,
        classes=model.classes,
        photos=len(done),
        before=before,
        problems=(*refused, *(problems[photo.id] for photo in chosen if photo.id in problems)),
        seconds=seconds,
        network_seconds=model.network_seconds - network,
        photos_with=tuple((total[:, 1:] > 0).sum(0).tolist()),
        share=tuple((total[:, 1:].sum(0) / pixels).tolist()),
        ids=tuple(photo.id for photo in done),
    )


@contextmanager
def _progress(ranks: Ranks, *, before: int, mine: int) -> Iterator[Callable[[], None]]:
    """Shows the part of process 0 with photos a second; the parts are about equal."""
    if not ranks.is_main:
        yield lambda: None
        return
    label = "predict" if ranks.count == 1 else f"predict (of {ranks.count} processes, the first)"
    begin, total = time.monotonic(), before + mine
    with counter(label=label, total=total, done=before) as advance:
        done = before

        def step() -> None:
            nonlocal done
            done += 1
            rate = (done - before) / max(1e-9, time.monotonic() - begin)
            advance(f"{100 * done / total:.0f} %, {rate:.1f} photos a second")

        yield step


# ------------------------------------------------------------------------------------------------------------- flow


def segment_photos(
    model: Model, photos: Sequence[Photo], tags: Mapping[str, Tags], use: Callable[[Photo, Prepared, Segmented], T]
) -> Iterator[tuple[Photo, T | Problem]]:
    """Every photo with what `use` makes of its label map (in a background thread), or what is wrong with it.

    tags: by id. The photos come in any order.
    """
    workers = model.settings.workers

    def prepare(photo: Photo) -> Prepared | Problem:
        try:
            return model.prepare(model.read(photo.path))
        except PhotoError as error:
            return Problem(str(photo.path), str(error).removeprefix(f"{photo.path}: "))

    def finish(photo: Photo, prepared: Prepared, scores: Any) -> T:
        return use(photo, prepared, model.finish(prepared, scores, tags[photo.id]))

    with _pool(workers) as decoders, _pool(workers) as finishers:
        finishing: deque[tuple[Photo, Future[T]]] = deque()
        for batch in _batches(_ahead(decoders, prepare, photos, count=workers + model.together), model.together):
            if isinstance(batch, tuple):
                yield batch
                continue
            scored = model.score([prepared for _, prepared in batch], [tags[photo.id] for photo, _ in batch])
            ready = [(photo, prepared.scored()) for photo, prepared in batch]
            del batch
            while scored:
                photo, prepared = ready.pop(0)
                finishing.append((photo, finishers.submit(finish, photo, prepared, scored.pop(0))))
            while finishing and (finishing[0][1].done() or len(finishing) > 2 * (workers + model.together)):
                photo, future = finishing.popleft()
                yield photo, future.result()
        for photo, future in finishing:
            yield photo, future.result()


Batch = list[tuple[Photo, Prepared]]


def _batches(
    prepared: Iterator[tuple[Photo, Prepared | Problem]], together: int
) -> Iterator[Batch | tuple[Photo, Problem]]:
    """Photos of equal shapes, `together` at a time where there are so many; what is wrong passes through.

    At most 4 * `together` photos wait for others of their shape.
    """
    waiting: defaultdict[tuple[Any, ...], Batch] = defaultdict(list)
    for photo, ready in prepared:
        if isinstance(ready, Problem):
            yield photo, ready
            continue
        waiting[ready.shapes].append((photo, ready))
        if len(waiting[ready.shapes]) == together:
            yield waiting.pop(ready.shapes)
        elif sum(map(len, waiting.values())) >= 4 * together:
            yield waiting.pop(max(waiting, key=lambda shapes: len(waiting[shapes])))
    yield from waiting.values()


def _ahead(
    pool: _Pool, work: Callable[[Photo], T], photos: Sequence[Photo], *, count: int
) -> Iterator[tuple[Photo, T]]:
    """Every photo with its work's result in order; `count` of them are under way or wait."""
    rest = iter(photos)
    waiting = deque((photo, pool.submit(work, photo)) for photo in islice(rest, count))
    while waiting:
        photo, future = waiting.popleft()
        yield photo, future.result()
        waiting.extend((photo, pool.submit(work, photo)) for photo in islice(rest, 1))


class _Pool(Protocol):
    def submit(self, work: Callable[..., T], /, *arguments: Any) -> Future[T]: ...


class _Inline:
    """A pool of no threads: work is done when it is handed in."""

    def submit(self, work: Callable[..., T], /, *arguments: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(work(*arguments))
        return future


@contextmanager
def _pool(workers: int) -> Iterator[_Pool]:
    if not workers:
        yield _Inline()
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# ------------------------------------------------------------------------------------------------------------ files


def _write(out: Path, photo: Photo, prepared: Prepared, segmented: Segmented, model: Model) -> Areas:
    buffer = io.BytesIO()
    picture = overlay(prepared.picture, segmented.labels, max_side=PICTURE_SIDE, opacity=model.settings.opacity)
    Image.fromarray(picture).save(buffer, format="JPEG", quality=90)
    write_bytes(place_of(out / OVERLAYS, photo.id, ".jpg"), buffer.getvalue())
    if model.settings.confidence and segmented.confidence is not None:
        write_confidence_png(place_of(out / CONFIDENCE, photo.id, ".png"), segmented.confidence)
    write_label_png(place_of(out / LABELS, photo.id, ".png"), segmented.labels)
    counts = count_labels(segmented.labels, len(model.classes) + 1)
    return [*counts, segmented.labels.size - sum(counts)] if model.settings.min_confidence > 0 else counts


def count_labels(labels: NDArray[np.uint8], count: int) -> list[int]:
    """How often each value 0..count-1 occurs; a photo of 100 megapixels needs little memory."""
    flat = labels.reshape(-1)
    parts = (flat[first : first + ROWS] for first in range(0, len(flat), ROWS))
    total: list[int] = sum(np.bincount(part, minlength=count)[:count] for part in parts).tolist()  # type: ignore
    return total


def _table(rows: Iterable[tuple[str, Areas]], model: Model) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    unsure = ["unsure"] if model.settings.min_confidence > 0 else []
    writer.writerow(["image", "pixels", BACKGROUND, *model.classes, *unsure])
    for name, row in rows:
        writer.writerow([name, sum(row), *row])
    return buffer.getvalue()
