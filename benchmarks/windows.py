"""What large and long photos lose against the small ones they are put together from, and the memory they take.

A segmenter of the recipe `demo-0e5ccf8` is trained on the exact masks of a demo world of its own (once, below --work),
then scored on photos put together from unseen ones of 96 pixels:

mosaic   6048x4032: 63x42 photos, `--window 96 --stride 96`; against its photos alone, and the mosaic shrunk to 4096
         pixels first, as an earlier state did
wide     25 of 384x96 (four photos side by side), `--window 256`; against both sides stretched to the window
strip    10000x40: 250 photos shrunk to 40 pixels, no window; against its photos alone, and the strip shrunk to 480x8
memory   peak memory and seconds of `semples predict` on the mosaic, and on 6000x6000 with a SegFormer-B0

    OMP_NUM_THREADS=1 python benchmarks/windows.py --work work/windows
    python benchmarks/windows.py --table
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import semples
from semples.core.files import write_json
from semples.data.dataset import open_dataset
from semples.data.demo.world import CLASSES, DemoWorld, write_world
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.names import MODEL, SEGMENTER
from semples.segmenter.build import SegmenterConfig, build_segmenter

RESULTS = Path(__file__).parent / "results" / "windows"
RECIPE = Path(__file__).parent / "recipes" / "demo-0e5ccf8.yaml"  # of the demo when these figures were made
SEED, SIDE = 341, 96
PLAIN: dict[str, Any] = {"scales": [1.0], "mirror": False, "crf": False, "max_megapixels": 1000.0}
Picture = NDArray[np.uint8]
Pair = tuple[Picture, Picture]  # photo (H,W,3) and its true label map (H,W)


def trained(work: Path) -> Path:
    """The segmenter's package; trained once."""
    world = work / "world"
    if not (world / "world.json").is_file():
        write_world(world, photos={"train": 300, "val": 2}, seed=SEED)
    context = Context(load_recipe(RECIPE, [f"run.seed={SEED}"]), Source(world), work / "run")
    known = {item.id for item in open_dataset(world, split="train").items}
    masks = work / "masks"
    masks.mkdir(exist_ok=True)
    for name in known:
        link = masks / f"{name}.png"
        if not link.is_symlink():
            link.symlink_to((world / "SegmentationClass" / f"{name}.png").resolve())
    pipeline.segmenter_of_folders(context, world / "JPEGImages", masks, world / "classes.txt")
    return context.folder(SEGMENTER) / MODEL


def unseen(count: int) -> list[Pair]:
    """Photos of textures that the segmenter has not seen, with their masks."""
    world = DemoWorld(seed=SEED, family="val", p=0.9, class_count=len(CLASSES), resolution=SIDE, distribution="biased")
    scenes = map(world.draw, range(count))
    return [(scene.photo, scene.object_mask) for scene in scenes]


def joined(pairs: Sequence[Pair], columns: int) -> Pair:
    """Photos in rows of `columns`, as one photo."""
    rows = [pairs[first : first + columns] for first in range(0, len(pairs), columns)]
    photo, mask = (np.vstack([np.hstack([pair[part] for pair in row]) for row in rows]) for part in (0, 1))
    return photo, mask


def resized(picture: Picture, size: tuple[int, int], *, smooth: bool) -> Picture:
    """A picture at (width, height)."""
    resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, resample))


def miou(answers: Sequence[Picture], truths: Sequence[Picture]) -> float:
    """mIoU over all photos together, percent."""
    total = sum(
        confusion_matrix(truth, answer, num_classes=len(CLASSES), where="")
        for answer, truth in zip(answers, truths, strict=True)
    )
    return round(scores_from_confusion(np.asarray(total)).miou, 2)


def through(model: Any, photo: Picture, size: tuple[int, int]) -> Picture:
    """Labels of a photo that is resized to (width, height) first."""
    height, width = photo.shape[:2]
    return resized(model.predict(resized(photo, size, smooth=True)), (width, height), smooth=False)


def mosaic(package: Path, work: Path) -> dict[str, Any]:
    pairs = unseen(63 * 42)
    photo, mask = joined(pairs, 63)
    model, alone = semples.load(package, window=SIDE, stride=SIDE, **PLAIN), semples.load(package, **PLAIN)
    height, width = mask.shape
    return {
        "size": [width, height],
        "whole": miou([model.predict(photo)], [mask]),
        "photos": miou([alone.predict(one) for one, _ in pairs], [truth for _, truth in pairs]),
        "before": miou([through(model, photo, (4096, round(4096 * height / width)))], [mask]),
    }


def wide(package: Path, work: Path) -> dict[str, Any]:
    pairs = unseen(100)
    strips = [joined(pairs[first : first + 4], 4) for first in range(0, len(pairs), 4)]
    truths = [mask for _, mask in strips]
    model, alone = semples.load(package, window=256, **PLAIN), semples.load(package, **PLAIN)
    return {
        "size": [4 * SIDE, SIDE],
        "whole": miou([model.predict(photo) for photo, _ in strips], truths),
        "photos": miou([alone.predict(one) for one, _ in pairs], [truth for _, truth in pairs]),
        "before": miou([through(model, photo, (4 * SIDE, 256)) for photo, _ in strips], truths),
    }


def strip(package: Path, work: Path) -> dict[str, Any]:
    small = [
        (resized(photo, (40, 40), smooth=True), resized(mask, (40, 40), smooth=False)) for photo, mask in unseen(250)
    ]
    photo, mask = joined(small, len(small))
    model, square = semples.load(package, **PLAIN), semples.load(package, window=SIDE, **PLAIN)
    parts = [joined(small[first : first + 4], 4) for first in range(0, len(small) - 3, 4)]
    return {
        "size": [mask.shape[1], mask.shape[0]],
        "whole": miou([model.predict(photo)], [mask]),
        "square_windows": miou([square.predict(photo)], [mask]),
        "parts": miou([model.predict(part) for part, _ in parts], [truth for _, truth in parts]),
        "photos": miou([model.predict(one) for one, _ in small], [truth for _, truth in small]),
        "before": miou([through(model, photo, (480, 8))], [mask]),
    }


def memory(package: Path, work: Path) -> dict[str, Any]:
    folder = work / "large"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(joined(unseen(63 * 42), 63)[0]).save(folder / "mosaic.jpg", quality=92)
    coarse = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((6000, 6000), Image.Resampling.BICUBIC).save(folder / "36.jpg", quality=92)
    names = tuple(f"class {index}" for index in range(20))
    config = SegmenterConfig(classes=names, size=512, mean=(0.5, 0.5, 0.5), std=(0.3, 0.3, 0.3))
    segformer = work / "segformer"
    if not segformer.is_dir():
        from semples.segmenter.package import Card, write_package

        made = build_segmenter("scratch:segformer", config=config, seed=0).eval()
        card = Card(
            name="b0",
            data="none",
            source="scratch:segformer",
            photos=1,
            tagged=None,
            labels="none",
            used_pixel_masks=None,
        )
        write_package(made, segformer, recipe={}, card=card)
    plain = ["--scales", "1", "--no-mirror"]
    return {
        "mosaic, demo network, window and stride 96": peak(
            package, folder / "mosaic.jpg", work, ["--window", "96", "--stride", "96", "--no-crf", *plain]
        ),
        "6000x6000, SegFormer-B0 of 20 classes, window and stride 512": peak(
            segformer, folder / "36.jpg", work, ["--window", "512", "--stride", "512", "--no-crf", *plain]
        ),
        "mosaic, demo network, window and stride 96, CRF": peak(
            package, folder / "mosaic.jpg", work, ["--window", "96", "--stride", "96", "--crf", *plain]
        ),
    }


def peak(package: Path, photo: Path, work: Path, options: list[str]) -> dict[str, float]:
    """Peak memory in GB (10^9 bytes) and seconds of `semples predict` as a process of one thread."""
    out = work / f"predicted-{len(list(work.glob('predicted-*')))}"
    command = [sys.executable, "-m", "semples", "predict", str(package), str(photo), "--out", str(out), *options]
    begin = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    if not (out / "labels" / f"{photo.stem}.png").is_file():
        raise RuntimeError(f"{out}: no label map")
    return {"gigabytes": round(usage.ru_maxrss * 1024 / 1e9, 2), "seconds": round(time.perf_counter() - begin)}


CELLS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "wide": wide,
    "strip": strip,
    "mosaic": mosaic,
    "memory": memory,
}


def table() -> str:
    """What is stored, as tables."""
    cells = {
        name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in CELLS
        if (RESULTS / f"{name}.json").is_file()
    }
    rows = [
        "| photo | whole | by square windows | its parts alone | its photos alone | as before |",
        "|---|---|---|---|---|---|",
    ]
    for entry in cells.values():
        if "whole" in entry:
            size = "x".join(map(str, entry["size"]))
            figures = [entry.get(key) for key in ("whole", "square_windows", "parts", "photos", "before")]
            rows.append(f"| {size} | {' | '.join('' if figure is None else f'{figure:.1f}' for figure in figures)} |")
    rows += ["", "| photo | peak memory, GB | seconds |", "|---|---|---|"]
    rows += [
        f"| {name} | {entry['gigabytes']:.2f} | {entry['seconds']} |" for name, entry in cells.get("memory", {}).items()
    ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/windows"))
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--table", action="store_true", help="print the tables of stored results and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        package = trained(arguments.work)
        for name in arguments.cells:
            path = RESULTS / f"{name}.json"
            if not path.is_file():
                write_json(path, CELLS[name](package, arguments.work))
            print(name, path.read_text(encoding="utf-8"), flush=True)
    print(table())


if __name__ == "__main__":
    main()
