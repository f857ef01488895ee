"""What a photo costs one core: seconds of files, views, CRF and looks, measured. Part of `cost.py`.

Photos are drawn JPEGs as large in bytes as real ones of VOC (some 110 KB at 500x375), or those of a folder. Processor
time of one thread; other work may run beside: each piece of work is repeated, and the fastest tenth of the repetitions
counts.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from semples.cams.make import scaled_inputs
from semples.cams.store import Cams, CamStore
from semples.core.palette import read_confidence_png, read_label_png, write_confidence_png, write_label_png
from semples.core.ranks import ALONE
from semples.data.dataset import ClassList, FileDataset, Item
from semples.data.transforms import image_to_tensor, resize_photo
from semples.labels.base import LabelInput
from semples.labels.make import make_label_method
from semples.recipe import AugmentSettings, DataSettings, LabelSettings, Recipe, RegionSettings
from semples.run.photos_once import photos_once
from semples.segmenter.views import LabelFolder, MaskedViews
from semples.training.feed import Views, tag_matrix

QUALITY = 97
PHOTOS = 4
REPEATS, SLOW_REPEATS = 40, 4
GREY = (0.5, 0.5, 0.5)
THRESHOLD = 0.45


@dataclass(frozen=True)
class Kind:
    """The photos of a data set: height and width, and how many classes those two have that stand for all."""

    size: tuple[int, int]
    tags: tuple[int, int]
    classes: int


def least(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Seconds of processor time: the mean of the fastest tenth, at least one, of the repetitions after a first."""
    work()
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    fastest = sorted(spent)[: max(1, repeats // 10)]
    return sum(fastest) / len(fastest)


def drawn(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """A photo of discs and bars, blurred and noisy, uint8 (H,W,3): to the CRF as the real ones are (0.18 s of a core,
    three real ones 0.17 to 0.20)."""
    draw, (height, width) = np.random.default_rng(seed), size
    y, x = np.mgrid[:height, :width]
    photo = np.stack([x / width, y / height, (x + y) / (width + height)], axis=2) * draw.integers(100, 255, size=3)
    for number in range(12):
        row, column, reach = draw.random() * height, draw.random() * width, (0.04 + 0.2 * draw.random()) * width
        inside = np.hypot(y - row, x - column) < reach if number % 2 else abs(y - row + (x - column) / 3) < reach / 3
        photo[inside] = draw.integers(0, 256, size=3)
    image = Image.fromarray(photo.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return (np.asarray(image) + draw.normal(scale=6, size=photo.shape)).clip(0, 255).astype(np.uint8)


def write_photos(folder: Path, kind: Kind, given: Path | None) -> FileDataset:
    """Photos of that size as JPEGs, or copies of those of a folder that have it."""
    files: list[bytes] = []
    for path in sorted(given.glob("*.jpg")) if given is not None else ():
        if Image.open(path).size == kind.size[::-1]:
            files.append(path.read_bytes())
    for seed in range(0 if files else PHOTOS):
        buffer = io.BytesIO()
        Image.fromarray(drawn(kind.size, seed)).save(buffer, "JPEG", quality=QUALITY)
        files.append(buffer.getvalue())
    items = []
    for index, content in enumerate(files):
        (folder / f"{index}.jpg").write_bytes(content)
        items.append(Item(str(index), folder / f"{index}.jpg", tuple(range(kind.tags[index % 2]))))
    names = tuple(f"thing{number}" for number in range(kind.classes))
    return FileDataset(name="", root=folder, classes=ClassList(names, names), items=tuple(items), problems=())


def grown_cams(kind: Kind, scales: tuple[float, ...], *, seed: int, count: int) -> Cams:
    """CAMs as `photo_cams` makes them: coarse grids, one a scale, enlarged, added and brought to 0..1."""
    draw, (height, width) = np.random.default_rng(seed), kind.size
    maps = {}
    for index in range(count):
        y, x = draw.uniform(0.2, 0.8, 2)
        whole = torch.zeros(height, width)
        for scale in scales:
            grid = round(height * scale) // 16, round(width * scale) // 16
            rows, columns = (np.linspace(0, 1, side) for side in grid)
            near = np.exp(-(((rows[:, None] - y) / 0.2) ** 2) - ((columns[None] - x) / 0.2) ** 2)
            coarse = torch.from_numpy((near + 0.1 * draw.random(grid)).astype(np.float32))
            whole += F.interpolate(coarse[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
        whole -= whole.min()
        maps[index] = (whole / (whole.max() + 1e-8)).numpy()
    return maps


def view_seconds(dataset: FileDataset, kind: Kind, augment: AugmentSettings, *, kept: bool) -> float:
    """Seconds of a training view of 224 px as a GPU gets it, collated: the mean over views of each one's fastest."""
    sizes = {item.id: kind.size[::-1] for item in dataset.items}
    settings = DataSettings(cache="memory" if kept else "no")
    once = photos_once(dataset, sizes, settings, folder=dataset.root, ranks=ALONE)
    views = Views(
        dataset=once, tags=tag_matrix(dataset), augment=augment, size=224, mean=GREY, std=GREY, seed=0, noise_size=24
    )

    def batch(epoch: int) -> None:
        views.collate_crops([views.crop((epoch, index)) for index in range(len(dataset.items))])

    fastest = [least(lambda epoch=epoch: batch(epoch), SLOW_REPEATS) for epoch in range(10)]  # type: ignore[misc]
    return sum(fastest) / len(fastest) / len(dataset.items)


def _mean(values: Iterator[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def seconds(kind: Kind, recipe: Recipe, *, photos: Path | None) -> dict[str, float]:
    """Seconds of a core by what is done with a photo; and bytes of what is kept of it (`bytes of ...`)."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = write_photos(folder, kind, photos)
        first = dataset.items[0]
        photo, content = dataset.photo(first), first.photo.read_bytes()
        made = {
            "bytes of a photo": _mean(item.photo.stat().st_size for item in dataset.items),
            "digest": least(lambda: hashlib.sha256(content).hexdigest()),
            "decode": _mean(least(lambda item=item: dataset.photo(item)) for item in dataset.items),  # type: ignore[misc]
            "view": view_seconds(dataset, kind, recipe.matching.augment, kept=False),
            "view, kept": view_seconds(dataset, kind, recipe.matching.augment, kept=True),
            "plain view": view_seconds(dataset, kind, recipe.prompting.augment, kept=False),
            "plain view, kept": view_seconds(dataset, kind, recipe.prompting.augment, kept=True),
            "look": least(lambda: image_to_tensor(resize_photo(dataset.photo(first), 224, 224), GREY, GREY)),
            "inputs of CAMs": least(lambda: scaled_inputs(photo, recipe.cams.scales, mean=GREY, std=GREY)),
        }
        made["segmenter view"] = segmenter_view_seconds(dataset, kind, recipe)
        return made | file_seconds(folder, kind, recipe) | crf_seconds(photo, kind, recipe)


def segmenter_view_seconds(dataset: FileDataset, kind: Kind, recipe: Recipe) -> float:
    """Seconds of a training view of the segmenter with its labels and confidences."""
    folder = dataset.root / "maps"
    cams = grown_cams(kind, recipe.cams.scales, seed=0, count=1)
    for item in dataset.items:
        write_label_png(folder / f"{item.id}.png", np.where(cams[0] > THRESHOLD, 1, 0).astype(np.uint8))
        write_confidence_png(folder / "confidence" / f"{item.id}.png", np.abs(cams[0] - THRESHOLD))
    views = MaskedViews(dataset=dataset, labels=LabelFolder(folder), settings=recipe.segmenter, seed=0)
    keys = [(epoch, index) for epoch in range(4) for index in range(len(dataset.items))]
    return _mean(least(lambda key=key: views[key], SLOW_REPEATS) for key in keys)  # type: ignore[misc]


def file_seconds(folder: Path, kind: Kind, recipe: Recipe) -> dict[str, float]:
    """CAM file, label map and confidence map of a photo by today's writers and readers."""
    rows = []
    for place, count in enumerate(kind.tags):
        cams = grown_cams(kind, recipe.cams.scales, seed=place, count=count)
        rows.append(_of_files(folder / f"files{place}", cams, kind.size))
    return {name: _mean(row[name] for row in rows) for name in rows[0]}


def _of_files(folder: Path, cams: Cams, size: tuple[int, int]) -> dict[str, float]:
    """The same of a photo with these CAMs."""
    store, named, doubt = CamStore(folder / "cams"), folder / "label.png", folder / "sure.png"
    labels, sure = np.where(cams[0] > THRESHOLD, 1, 0).astype(np.uint8), np.abs(cams[0] - THRESHOLD)
    return {
        "write CAM file": least(lambda: store.write("one", cams, size)),
        "read CAM file": least(lambda: store.read("one")),
        "write label map": least(lambda: write_label_png(named, labels)),
        "read label map": least(lambda: read_label_png(named)),
        "write confidence": least(lambda: write_confidence_png(doubt, sure)),
        "read confidence": least(lambda: read_confidence_png(doubt)),
        "bytes of CAM file": next((folder / "cams").glob("one*")).stat().st_size,
        "bytes of label map": named.stat().st_size,
        "bytes of confidence": doubt.stat().st_size,
    }


def crf_seconds(photo: NDArray[np.uint8], kind: Kind, recipe: Recipe) -> dict[str, float]:
    """The label map of a photo by the recipe's method, without files, and its maps at all thresholds of the choice."""
    method = make_label_method(
        LabelSettings(method=recipe.labels.method), regions=RegionSettings(), crf=recipe.crf, num_classes=kind.classes
    )
    inputs = [
        LabelInput(
            id=str(place),
            cams=grown_cams(kind, recipe.cams.scales, seed=place, count=count),
            shape=kind.size,
            size=kind.size,
            tags=tuple(range(count)),
            photo=lambda: photo,
        )
        for place, count in enumerate(kind.tags)
    ]
    grid = method.calibration.grid
    method.label(inputs[0], THRESHOLD)  # the CRF may be translated to machine code
    return {
        "label": _mean(least(lambda one=one: method.label(one, THRESHOLD), SLOW_REPEATS) for one in inputs),  # type: ignore[misc]
        "sweep": _mean(least(lambda one=one: method.sweep(one, grid.maps), 1) for one in inputs[:1]),  # type: ignore[misc]
        "thresholds tried": len(grid.tried),
    }
