"""What the page says of a photo: its label map, the picture to show, the areas of its classes; files of all three."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.errors import UserError
from semples.core.palette import label_png
from semples.data.photos import probe, read_photo, reduced
from semples.export.overlay import overlay
from semples.prediction.job import count_labels
from semples.prediction.model import Model
from semples.segmenter.build import BACKGROUND

MEGABYTE = 1 << 20
SHOWN_SIDE = 1400  # longest side of the pictures on the page, pixels


@dataclass(frozen=True)
class Limits:
    """The largest photo that is taken: bytes of its file, and megapixels."""

    megabytes: float = 25.0
    megapixels: float = 40.0

    @property
    def bytes(self) -> int:
        """The largest file."""
        return int(self.megabytes * MEGABYTE)


@dataclass(frozen=True)
class Sent:
    """A photo as it was sent: the file's name and its bytes."""

    name: str
    data: bytes


class Memory:
    """The last photo of every open page, of at most `pages`; the page longest unused is forgotten first."""

    def __init__(self, pages: int) -> None:
        self._pages = pages
        self._lock = threading.Lock()
        self._photos: OrderedDict[str | None, Sent] = OrderedDict()

    def put(self, page: str | None, sent: Sent) -> None:
        """Remember a page's photo."""
        with self._lock:
            self._photos[page] = sent
            self._photos.move_to_end(page)
            while len(self._photos) > self._pages:
                self._photos.popitem(last=False)

    def get(self, page: str | None) -> Sent | None:
        """A page's photo."""
        with self._lock:
            if page in self._photos:
                self._photos.move_to_end(page)
            return self._photos.get(page)

    def forget(self, page: str | None) -> None:
        """Forget a page."""
        with self._lock:
            self._photos.pop(page, None)


@dataclass(frozen=True)
class Area:
    """A class in a photo: its name, its label, and how many pixels and what share of the photo (0..1) it has."""

    name: str
    label: int
    pixels: int
    share: float


@dataclass(frozen=True)
class Answer:
    """A photo and what the model finds in it.

    size: (width, height) of the photo. picture: uint8 (h,w,3), the photo at the size shown. layer: labels uint8 (h,w)
    of that size. labels: uint8 (H,W) of the photo's own size. areas: of the labels that occur, background first.
    """

    name: str
    size: tuple[int, int]
    picture: NDArray[np.uint8]
    layer: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    areas: tuple[Area, ...]
    seconds: float


def decode(sent: Sent, limits: Limits) -> NDArray[np.uint8]:
    """The photo, uint8 (H,W,3). Raises UserError: one line without the file's name; its size is read before it."""
    if len(sent.data) > limits.bytes:
        raise UserError(f"this file is larger than {limits.megabytes:g} megabytes; make the photo smaller")
    try:
        width, height = probe(sent.data, max_megapixels=float("inf"))
        megapixels = width * height / 1e6
        if megapixels > limits.megapixels:
            raise UserError(
                f"{width} x {height} pixels are {megapixels:.4g} megapixels; this page takes photos of up to "
                f"{limits.megapixels:g}: make it smaller, or use `semples predict MODEL PHOTO --out FOLDER`"
            )
        return read_photo(sent.data, max_megapixels=limits.megapixels)
    except UserError as error:
        raise UserError(str(error).removeprefix("the photo: ")) from None


def shown(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo at the size shown."""
    return reduced(photo, max_side=SHOWN_SIDE)


def answer(model: Model, sent: Sent, tags: Sequence[str], *, limits: Limits) -> Answer:
    """What `model` finds in a photo; where there are `tags`, it looks for these classes only. Raises UserError."""
    begin = time.perf_counter()
    photo = decode(sent, limits)
    labels = model.predict(photo, tags=list(tags) or None)
    picture = shown(photo)
    counts = count_labels(labels, len(model.classes) + 1)
    return Answer(
        name=sent.name,
        size=(labels.shape[1], labels.shape[0]),
        picture=picture,
        layer=np.asarray(
            Image.fromarray(labels).resize((picture.shape[1], picture.shape[0]), Image.Resampling.NEAREST)
        ),
        labels=labels,
        areas=tuple(
            Area(name, label, counts[label], counts[label] / labels.size)
            for label, name in enumerate((BACKGROUND, *model.classes))
            if counts[label]
        ),
        seconds=time.perf_counter() - begin,
    )


def write_files(answered: Answer, folder: Path) -> tuple[Path, Path, Path]:
    """Write the label map (palette PNG, the photo's own size), the overlay (JPEG) and the areas (CSV) into `folder`."""
    stem = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in Path(answered.name).stem)[:60]
    labels, picture, areas = (folder / f"{stem or 'photo'}_{end}" for end in ("labels.png", "overlay.jpg", "areas.csv"))
    labels.write_bytes(label_png(answered.labels))
    drawn = overlay(answered.picture, answered.layer, max_side=SHOWN_SIDE)
    Image.fromarray(drawn).save(picture, format="JPEG", quality=90)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "label", "pixels", "share"])
    writer.writerows([area.name, area.label, area.pixels, area.share] for area in answered.areas)
    areas.write_text(buffer.getvalue(), encoding="utf-8", newline="\n")
    return labels, picture, areas
