"""Scores of the published program, reproduced from its inputs (files g6_*)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.cams.store import decode_compact, encode_compact
from semples.evaluation.curve import Curve, CurveAccumulator, threshold_range
from semples.labels.threshold import winner_map

PERCENT = 1e-9  # both sides are float64 sums over counts


def load(golden: Path) -> dict[str, tuple[list[tuple[np.ndarray, dict[int, np.ndarray]]], dict[str, Any]]]:
    cases = {}
    for path in sorted(golden.glob("g6_*_inputs.npz")):
        name = path.name.removesuffix("_inputs.npz")
        with np.load(path) as stored:
            count = sum(key.startswith("gt") for key in stored)
            photos = [
                (stored[f"gt{i}"], dict(zip(stored[f"classes{i}"].tolist(), stored[f"cams{i}"], strict=True)))
                for i in range(count)
            ]
        cases[name] = (photos, json.loads((golden / f"{name}.json").read_text(encoding="utf-8")))
    if not cases:
        pytest.skip(f"no g6 files in {golden}")
    return cases


def curve_of(
    photos: list[tuple[np.ndarray, dict[int, np.ndarray]]],
    names: list[str],
    bounds: tuple[int, int],
    *,
    compact: bool = False,
) -> Curve:
    accumulator = CurveAccumulator(len(names) - 1, threshold_range(*bounds))
    for truth, cams in photos:
        kept = decode_compact(encode_compact(cams, truth.shape))[0] if compact else cams
        accumulator.add(truth, *winner_map(kept, truth.shape))
    return accumulator.result()


def names_of(expected: dict[str, Any]) -> list[str]:
    figures = next(iter(expected["thresholds"].values()))
    return [name for name in figures if name not in ("mIoU", "FP", "FN", "Prediction", "Recall")]


def test_every_figure_at_every_threshold(golden: Path) -> None:
    for photos, expected in load(golden).values():
        names = names_of(expected)
        for text, figures in expected["thresholds"].items():
            step = round(float(text) * 100)
            (point,) = curve_of(photos, names, (step, step + 1)).points
            scores = point.scores
            np.testing.assert_allclose(scores.iou, [figures[name] for name in names], rtol=0, atol=PERCENT)
            means = (scores.miou, scores.mean_false_positive, scores.mean_false_negative, scores.mean_precision)
            wanted = [figures[key] for key in ("mIoU", "FP", "FN", "Prediction", "Recall")]
            np.testing.assert_allclose((*means, scores.mean_recall), wanted, rtol=0, atol=PERCENT)


def test_first_peak_is_the_published_answer_and_best_the_true_one(golden: Path) -> None:
    for photos, expected in load(golden).values():
        names = names_of(expected)
        for bounds, (miou, threshold) in expected["best_early_stop"].items():
            start, end = (int(bound) for bound in bounds.split("-"))
            peak = curve_of(photos, names, (start, end)).first_peak
            assert (peak.threshold, peak.scores.miou) == (threshold, pytest.approx(miou, abs=PERCENT))
        key = next(key for key in expected if key.startswith("global_best_"))
        start, last = (int(bound) for bound in key.removeprefix("global_best_").split("_"))
        miou, threshold = expected[key]
        best = curve_of(photos, names, (start, last + 1)).best
        assert (best.threshold, best.scores.miou) == (float(threshold), pytest.approx(miou, abs=PERCENT))


def test_compact_storage_keeps_the_scores(golden: Path) -> None:
    for photos, expected in load(golden).values():
        names = names_of(expected)
        exact, compact = (curve_of(photos, names, (0, 101), compact=flag).points for flag in (False, True))
        for one, other in zip(exact, compact, strict=True):
            assert abs(one.scores.miou - other.scores.miou) <= 0.05
