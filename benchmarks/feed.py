"""How fast photos come to training: with and without photos that are kept decoded, and how long loaders take to begin.

    OMP_NUM_THREADS=1 python benchmarks/feed.py [--out benchmarks/results/feed.json]

Photos a second of processor time, one process: views of stage (a) with the augmentation of the recipes `demo` and
`voc`, 224 px from drawn JPEGs of 500x375, 96 px from the demo's own. The first pass fills, `then` is the median of the
others; ways take turns. `db`: PSNR of views from reduced photos against those from whole ones, augmentation but for
the crop left out. `starts`: seconds from the call to the first batch, and to the end of a loader of two processes; each
in a process of its own that has loaded what a stage loads, and 600 MB in place of its networks.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from semples.core.ranks import ALONE
from semples.data.dataset import ClassList, FileDataset, Item
from semples.data.demo.world import DemoWorld
from semples.data.transforms import train_crop
from semples.recipe import AugmentSettings, DataSettings, load_recipe
from semples.run.photos_once import photos_once
from semples.training.feed import Plan, Views, feed, tag_matrix

PHOTOS, PASSES = 40, 5
NAMES = ClassList(tuple("abcdefgh"), tuple("abcdefgh"))
GREY = (0.5, 0.5, 0.5)
BALLAST = 150_000_000  # float32 values
BATCHES = 4


def draw(folder: Path, *, width: int, height: int) -> FileDataset:
    """JPEGs of drawn photos, quality 95 as the demo world has."""
    world, items = DemoWorld(seed=0, family="train", resolution=min(512, max(width, height))), []
    folder.mkdir()
    for index in range(PHOTOS):
        path, buffer = folder / f"{index}.jpg", io.BytesIO()
        picture = Image.fromarray(world.draw(index).photo).crop((0, 0, width, height))
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
        path.write_bytes(buffer.getvalue())
        items.append(Item(str(index), path, (index % 8,)))
    return FileDataset(name="", root=folder, classes=NAMES, items=tuple(items), problems=())


def views_of(dataset: Any, augment: AugmentSettings, size: int) -> Views:
    tags = tag_matrix(dataset)
    return Views(
        dataset=dataset, tags=tags, augment=augment, size=size, mean=GREY, std=GREY, seed=0, noise_size=24
    )  # fmt: skip


def speeds(dataset: FileDataset, size: int, ways: dict[str, DataSettings], augment: AugmentSettings) -> dict[str, Any]:
    """Photos a second by way: of the first pass, and the median of the others."""
    width, height = Image.open(dataset.items[0].photo).size
    sizes = {item.id: (width, height) for item in dataset.items}
    views = {
        name: views_of(photos_once(dataset, sizes, settings, folder=dataset.root, ranks=ALONE), augment, size)
        for name, settings in ways.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(PASSES):
        for name, those in views.items():
            begin = time.process_time()
            for index in range(PHOTOS):
                those[(turn, index)]
            rates[name].append(round(PHOTOS / (time.process_time() - begin), 1))
    return {name: {"first": row[0], "then": round(statistics.median(row[1:]), 1)} for name, row in rates.items()}


def likeness(dataset: FileDataset, size: int, side: int, augment: AugmentSettings) -> float:
    """Mean PSNR in dB of views from photos of at most `side` pixels against those from whole ones."""
    plain = replace(augment, randaugment_ops=0, colour_jitter=0.0, erasing=0.0)
    sizes = {item.id: Image.open(item.photo).size for item in dataset.items}
    small = photos_once(dataset, sizes, DataSettings(cache="no", train_side=side), folder=dataset.root, ranks=ALONE)
    values = []
    for index in range(PHOTOS):
        left, right = (
            train_crop(photos.photo(index), plain, size=size, mean=GREY, seed=0, epoch=0, index=index).pixels.double()
            for photos in (dataset, small)
        )
        values.append(10 * math.log10(255**2 / max(1e-9, float((left - right).square().mean()))))
    return round(statistics.mean(values), 1)


def start(how: str, count: int, workers: int) -> None:
    """Print the seconds to the first batch, and to the end, of a loader over `count` photos (all of them the same)."""
    if how != "fork":
        multiprocessing.set_start_method(how)
    import semples.segmenter.task
    import semples.stages.matching  # noqa: F401

    kept = torch.ones(BALLAST)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.jpg")
        Image.fromarray(DemoWorld(seed=0, family="train").draw(0).photo).save(path)
        items = tuple(Item(f"photo-{index:06d}", path, (index % 8,)) for index in range(count))
        dataset = FileDataset(name="", root=path.parent, classes=NAMES, items=items, problems=())
        views = views_of(dataset, load_recipe("demo").matching.augment, 96)
        plan = Plan(views.pairs, epochs=1, batch=10, seed=0, length=BATCHES)
        begin = time.perf_counter()
        batches = feed(plan, views, rank=0, first_step=0, workers=workers)
        next(batches)
        first = time.perf_counter() - begin
        for _ in batches:
            pass
        print(json.dumps({"first": round(first, 3), "end": round(time.perf_counter() - begin, 3)}))
    del kept


def started(how: str, count: int, workers: int) -> dict[str, float]:
    """The median of three."""
    line = [sys.executable, __file__, "--start", how, str(count), str(workers)]
    rows = [json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/feed.json"))
    parser.add_argument("--start", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.start:
        start(chosen.start[0], int(chosen.start[1]), int(chosen.start[2]))
        return
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"torch": torch.__version__, "photos": PHOTOS, "speeds": {}, "db": {}, "starts": {}}
    with tempfile.TemporaryDirectory() as folder:
        large = draw(Path(folder, "large"), width=500, height=375)
        small = draw(Path(folder, "small"), width=96, height=96)
        figures["bytes"] = {data.root.name: data.items[0].photo.stat().st_size for data in (large, small)}
        plain = {"no": DataSettings(cache="no"), "memory": DataSettings(cache="memory")}
        more = {"disk": DataSettings(cache="disk")} | {
            f"memory, {side} px": DataSettings(cache="memory", train_side=side) for side in (375, 256)
        }
        for recipe in ("demo", "voc"):
            augment = load_recipe(recipe).matching.augment
            figures["speeds"][recipe] = {
                "500x375": speeds(large, 224, plain | more, augment),
                "96x96": speeds(small, 96, plain, augment),
            }
            figures["db"][recipe] = {side: likeness(large, 224, side, augment) for side in (375, 256)}
    for count in (80, 20_000):
        figures["starts"][count] = {
            f"{how}, {workers}": started(how, count, workers)
            for how, workers in (("fork", 0), ("fork", 2), ("spawn", 2))
        }
    figures["cores"] = os.cpu_count()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
