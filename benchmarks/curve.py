"""Time of the threshold curve: 20 thresholds on 50 photos of 375x500, from class activation maps to all scores.

    python benchmarks/curve.py

prints one JSON object. `measure` is also called by the table of all speeds.
"""

from __future__ import annotations

import json
import statistics
import time

import numpy as np

from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.masks.threshold import winner_map

PHOTOS, HEIGHT, WIDTH, CLASSES = 50, 375, 500, 20


def measure(*, repeats: int = 3, num_classes: int = CLASSES) -> dict[str, float | int]:
    """Median seconds of the whole curve (winner of 1 to 3 maps, counting, scores) and of all but the winners."""
    photos = [_photo(seed, num_classes) for seed in range(PHOTOS)]
    whole, counting = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        curve = CurveAccumulator(num_classes, threshold_range(30, 50))
        winners = [winner_map(cams, (HEIGHT, WIDTH)) for _, cams in photos]
        middle = time.perf_counter()
        for (truth, _), (winner, value) in zip(photos, winners, strict=True):
            curve.add(truth, winner, value)
        curve.result()
        end = time.perf_counter()
        whole.append(end - start)
        counting.append(end - middle)
    return {
        "photos": PHOTOS,
        "thresholds": 20,
        "classes": num_classes,
        "seconds": statistics.median(whole),
        "seconds_without_winner": statistics.median(counting),
    }


def _photo(seed: int, num_classes: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    present = rng.choice(num_classes, size=1 + seed % 3, replace=False)
    cams = {int(index): rng.random((HEIGHT, WIDTH), dtype=np.float32) for index in present}
    values = np.array([0, *(present + 1), 255], np.uint8)
    return values[rng.integers(len(values), size=(HEIGHT, WIDTH))], cams


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
