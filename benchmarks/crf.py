"""Dense CRF: time beside pydensecrf2 in the same run, a folder on two processes, a batch on a GPU, and label agreement.

    python benchmarks/crf.py [--photos DIR] [--repeats 5] [--out crf.json]

Photos are drawn (discs and bars, noise, blur, 375x500); JPEGs in DIR are added. Prints a table. Every single-photo
time includes all that a new photo needs (both lattices); for a folder, what depends on the photo's size alone is kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from semples.labels.crf.dense import PRESETS, DenseCrf, unary_from_labels

HEIGHT, WIDTH = 375, 500
BACKENDS = ("pydensecrf", "torch", "numba")
COUNTS = (3, 21)
FOLDER_PHOTOS = 12  # for each of two processes

Problem = tuple[torch.Tensor, torch.Tensor]


def drawn_photo(seed: int) -> np.ndarray:
    """Discs and bars of random colours, blurred and noisy, uint8 (375,500,3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    photo = np.stack([x / WIDTH, y / HEIGHT, (x + y) / (WIDTH + HEIGHT)], axis=2) * rng.integers(100, 255, size=3)
    for number in range(12):
        row, column, size = rng.random() * HEIGHT, rng.random() * WIDTH, 20 + rng.random() * 100
        inside = np.hypot(y - row, x - column) < size if number % 2 else abs(y - row + (x - column) / 3) < size / 3
        photo[inside] = rng.integers(0, 256, size=3)
    image = Image.fromarray(photo.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return (np.asarray(image) + rng.normal(scale=6, size=photo.shape)).clip(0, 255).astype(np.uint8)


def problem(photo: np.ndarray, count: int, seed: int) -> Problem:
    """A photo and the unary energies of random blocks of 40x40 pixels with `count` labels."""
    height, width = photo.shape[:2]
    coarse = np.random.default_rng(seed).integers(0, count, size=(height // 40 + 1, width // 40 + 1))
    labels = np.kron(coarse, np.ones((40, 40)))[:height, :width].astype(np.uint8)
    return torch.from_numpy(photo), unary_from_labels(torch.from_numpy(labels), count=count, confidence=0.7)


def load_photos(folder: Path | None) -> list[np.ndarray]:
    """JPEGs of a folder as uint8 (H,W,3)."""
    paths = sorted(folder.glob("*.jpg")) if folder else []
    return [np.array(Image.open(path).convert("RGB")) for path in paths]


def single_photos(photos: Sequence[np.ndarray], repeats: int) -> list[dict[str, Any]]:
    """Median seconds per photo and backend, the backends taking turns; one thread."""
    rows = []
    for preset in sorted(PRESETS):
        for count in COUNTS:
            seconds: dict[str, list[float]] = {name: [] for name in BACKENDS}
            for index, photo in enumerate(photos):
                case = problem(photo, count, index)
                for _ in range(repeats):
                    for name in BACKENDS:
                        crf = DenseCrf(PRESETS[preset], backend=name)  # type: ignore[arg-type]
                        seconds[name].append(timed(partial(crf.marginals, [case[0]], [case[1]])))
            medians = {name: statistics.median(of_program) for name, of_program in seconds.items()}
            rows.append({"preset": preset, "labels": count, "photos": len(photos), "seconds": medians})
    return rows


def agreement(real: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Pixels whose label differs from pydensecrf's, per backend, over 20 photos with 2 to 21 labels."""
    photos = [*real, *(drawn_photo(100 + i) for i in range(20 - len(real)))]
    rows = []
    for preset in sorted(PRESETS):
        crfs = {name: DenseCrf(PRESETS[preset], backend=name) for name in BACKENDS}  # type: ignore[arg-type]
        differing, pixels, worst = dict.fromkeys(BACKENDS[1:], 0), 0, dict.fromkeys(BACKENDS[1:], 1.0)
        for index, photo in enumerate(photos):
            case = problem(photo, 2 + index, index)
            labels = {name: crf.marginals([case[0]], [case[1]])[0].argmax(0) for name, crf in crfs.items()}
            pixels += photo[..., 0].size
            for name in BACKENDS[1:]:
                wrong = int((labels[name] != labels["pydensecrf"]).sum())
                differing[name] += wrong
                worst[name] = min(worst[name], 1 - wrong / photo[..., 0].size)
        rows.append({"preset": preset, "pixels": pixels, "differing": differing, "worst_photo": worst})
    return rows


def folder_seconds(backend: str, count: int) -> float:
    """Seconds in which one process refines its share of a folder, after a first photo that does not count."""
    torch.set_num_threads(1)
    crf = DenseCrf(PRESETS["voc"], backend=backend)  # type: ignore[arg-type]
    cases = [problem(drawn_photo(i), count, i) for i in range(FOLDER_PHOTOS)]
    crf.marginals(*([part] for part in problem(drawn_photo(99)[:100, :100], count, 0)))
    return timed(lambda: [crf.marginals([photo], [unary]) for photo, unary in cases])


def two_processes() -> list[dict[str, Any]]:
    """Photos per second of two processes side by side, each with one thread."""
    rows = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for count in COUNTS:
            speed = {}
            for name in BACKENDS:
                spent = [pool.submit(folder_seconds, name, count) for _ in range(2)]
                speed[name] = 2 * FOLDER_PHOTOS / max(future.result() for future in spent)
            rows.append({"labels": count, "photos_per_second": speed})
    return rows


def gpu_batches() -> list[dict[str, Any]]:
    """Photos per second of batches of 32 on a GPU, photos and unaries already there; empty without one."""
    if not torch.cuda.is_available():
        return []
    rows = []
    for count in COUNTS:
        cases = [problem(drawn_photo(i % 8), count, i) for i in range(32)]
        photos, unaries = [photo.cuda() for photo, _ in cases], [unary.cuda() for _, unary in cases]
        for dtype in (torch.float32, torch.float16):
            crf = DenseCrf(PRESETS["voc"], dtype=dtype)

            def batch(crf: DenseCrf = crf, photos: Any = photos, unaries: Any = unaries) -> None:
                crf.marginals(photos, unaries)
                torch.cuda.synchronize()

            batch()
            seconds = statistics.median(timed(batch) for _ in range(5))
            device = torch.cuda.get_device_name()
            rows.append({"device": device, "labels": count, "dtype": str(dtype), "photos_per_second": 32 / seconds})
    return rows


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(*, photos: Path | None = None, repeats: int = 5) -> dict[str, Any]:
    """All measurements as plain data."""
    torch.set_num_threads(1)
    real = load_photos(photos)
    for name in BACKENDS[1:]:  # compile before the clock runs
        DenseCrf(PRESETS["voc"], backend=name).marginals(*([part] for part in problem(drawn_photo(0)[:50, :50], 3, 0)))  # type: ignore[arg-type]
    return {
        "single": single_photos([*real, drawn_photo(0), drawn_photo(1)], repeats),
        "agreement": agreement(real),
        "two_processes": two_processes(),
        "gpu": gpu_batches(),
    }


def table(result: dict[str, Any]) -> str:
    """The measurements as Markdown."""
    lines = ["| | pydensecrf2 | torch | numba |", "|---|---|---|---|"]
    for row in result["single"]:
        base = row["seconds"]["pydensecrf"]
        cells = [f"{row['seconds'][name]:.3f} s ({row['seconds'][name] / base:.2f}x)" for name in BACKENDS]
        lines.append(f"| one photo, one thread, {row['preset']}, {row['labels']} labels | {' | '.join(cells)} |")
    for row in result["two_processes"]:
        base = row["photos_per_second"]["pydensecrf"]
        cells = [f"{speed:.1f}/s ({base / speed:.2f}x)" for speed in map(row["photos_per_second"].get, BACKENDS)]
        lines.append(f"| folder, two processes, voc, {row['labels']} labels | {' | '.join(cells)} |")
    for row in result["agreement"]:
        cells = [f"{row['differing'][name]} of {row['pixels']} pixels differ" for name in BACKENDS[1:]]
        lines.append(f"| 20 photos, 2-21 labels, {row['preset']} | - | {' | '.join(cells)} |")
    for row in result["gpu"]:
        speed = f"{row['photos_per_second']:.0f}/s"
        lines.append(f"| {row['device']}, batch of 32, {row['labels']} labels, {row['dtype']} | - | {speed} | - |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs that are measured too")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    result = measure(photos=arguments.photos, repeats=arguments.repeats)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
