"""Photos a second and the share of the time that the network computes, with and without background threads.

Photos: 96-pixel photos of the demo world through the demo's network, and 500x375 JPEGs through a SegFormer-B0 (512
pixels); weights are random where that changes no time. Each job writes label maps, overlays and areas, as
`semples predict` does. "network alone" is the same network on the same batches with nothing else to do. On a CPU the
process is bound to `--cores` cores with one torch thread.

    python benchmarks/predict.py [--cores 1] [--repeats 3] [--out benchmarks/results/predict.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from semples.data.demo.world import write_world
from semples.data.photos import read_photo
from semples.prediction import predict
from semples.prediction.model import SegmenterModel
from semples.prediction.settings import predict_settings
from semples.recipe import CrfSettings
from semples.segmenter.build import Segmenter, SegmenterConfig, build_segmenter

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 8


def network(source: str, *, classes: int, size: int) -> Segmenter:
    """A segmenter whose head has random weights."""
    names = tuple(f"class {index}" for index in range(classes))
    return build_segmenter(source, config=SegmenterConfig(classes=names, size=size, mean=MEAN, std=STD), seed=0).eval()


def jpegs(folder: Path, count: int) -> Path:
    """Photos of 500x375 pixels with as much detail as a camera's (about 90 kB each)."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8)).resize((500, 375))
        grain = rng.normal(0, 9, (375, 500, 1))
        values = np.asarray(noise.filter(ImageFilter.GaussianBlur(2))) + grain
        Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(folder / f"{index:04d}.jpg", quality=90)
    return folder


def measure(segmenter: Segmenter, photos: Path, *, workers: int, repeats: int) -> dict[str, float]:
    """Medians over `repeats` jobs."""
    model = SegmenterModel(
        segmenter, settings=predict_settings(batch=BATCH, workers=workers), identity={}, crf=CrfSettings()
    )
    speed, share = [], []
    for repeat in range(repeats + 1):  # the first warms up
        out = photos.with_name(f"out-{workers}-{repeat}")
        done = predict(model, photos, out)
        shutil.rmtree(out)
        if repeat:
            speed.append(done.photos_per_second)
            share.append(done.network_share)
    return {"photos_per_second": statistics.median(speed), "network_share": statistics.median(share)}


def alone(segmenter: Segmenter, photos: Path, *, repeats: int) -> float:
    """Photos a second of the network on batches that are ready."""
    model = SegmenterModel(segmenter, settings=predict_settings(batch=BATCH), identity={}, crf=CrfSettings())
    files = sorted(photos.glob("*"))
    batch = [model.prepare(read_photo(path)) for path in files[:BATCH]]
    rates = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        for _ in range(max(1, len(files) // BATCH)):
            model.score(batch, [None] * BATCH)
        rates.append(max(1, len(files) // BATCH) * BATCH / (time.perf_counter() - begin))
    return statistics.median(rates[1:])


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "predict.json")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
        torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder / "world", photos={"val": 2 * options.photos}, masks=False)
        cases = {
            "demo, 96 px": ("vit:shipped:demo_vit", 8, 96, folder / "world" / "JPEGImages"),
            "500x375, SegFormer-B0": ("scratch:segformer", 20, 512, jpegs(folder / "jpegs", options.photos)),
        }
        for case, (source, classes, size, photos) in cases.items():
            segmenter = network(source, classes=classes, size=size)
            row = {"case": case, "network_alone": alone(segmenter, photos, repeats=options.repeats)}
            for workers in (0, 2, 4):
                measured = measure(segmenter, photos, workers=workers, repeats=options.repeats)
                row |= {f"{key}_{workers}": value for key, value in measured.items()}
            rows.append(row)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{options.cores} core(s), 1 torch thread"
    about = {"device": device, "machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(about | {"batch": BATCH, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    print(device)
    print("| photos | network alone | no threads | 2 threads | 4 threads |\n|---|---|---|---|---|")
    for row in rows:
        cells = [f"{row[f'photos_per_second_{n}']:.1f}/s, {row[f'network_share_{n}']:.0%}" for n in (0, 2, 4)]
        print(f"| {row['case']} | {row['network_alone']:.1f}/s | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
