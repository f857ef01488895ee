"""`semples compare`: what differs, figures side by side, intervals over seeds, the photos labelled most unlike."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.inspect.comparison import compare, interval, photo_iou
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.folder import write_run
from tests import tiny

STEPS = ["data", "cams", "curve", "labels", "scores"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("photos"), count=6)


@pytest.fixture(scope="module")
def given(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CAMs that fall off from the masks, so that every threshold has another label map."""
    folder = tmp_path_factory.mktemp("given")
    for path in sorted(photos.glob("p*.png")):
        mask = tiny.pixels(photos / "masks" / path.name)
        ramp = np.linspace(0.2, 1, mask.shape[1], dtype=np.float32)
        maps = {k: np.where(mask == k + 1, ramp, ramp / 3).astype(np.float32) for k in (0, 1) if (mask == k + 1).any()}
        CamStore(folder).write(path.stem, maps, mask.shape)
    return folder


def run(photos: Path, given: Path, out: Path, *, threshold: float, seed: int = 0) -> Path:
    changes = ["generator.kind=saved", f"generator.start={given}", "generator.rescale=false", "labels.select=fixed"]
    changes += [f"labels.threshold={threshold}", f"run.seed={seed}", "data.workers=0", "labels.method=threshold"]
    context = Context(load_recipe("folder", changes), Source(photos), out)
    write_run(context)
    pipeline.run(context, steps=STEPS)
    return out


@pytest.fixture(scope="module")
def runs(photos: Path, given: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("runs")
    made = [
        run(photos, given, home / f"{name}{seed}", threshold=threshold, seed=seed)
        for name, threshold in (("low", 0.1), ("high", 0.4))
        for seed in (0, 1)
    ]
    return made


def test_what_differs(runs: list[Path], tmp_path: Path) -> None:
    out = tiny.invoke("compare", runs[0], runs[2], "--json", tmp_path / "c.json", "--photos", "3").out
    told = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["runs"]] == ["low0", "high0"]
    assert told["settings"] == [{"key": "labels.threshold", "values": [0.1, 0.4]}]
    assert told["photos"] == []
    assert told["groups"] == []
    for place, folder in enumerate((runs[0], runs[2])):
        scores = json.loads((folder / "scores" / "scores.json").read_text(encoding="utf-8"))
        assert told["figures"]["labels: mIoU"][place] == scores["labels"]["miou"]
        assert told["figures"]["threshold"][place] == (0.1, 0.4)[place]
    assert "labels.threshold" in out
    assert len(told["unlike"]) == 3
    shares = [one["share"] for one in told["unlike"]]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0
    first = told["unlike"][0]
    maps = [tiny.pixels(folder / "labels" / f"{first['photo']}.png") for folder in (runs[0], runs[2])]
    assert first["share"] == pytest.approx((maps[0] != maps[1]).mean(), abs=1e-6)


def test_intervals_over_seeds(runs: list[Path], tmp_path: Path) -> None:
    """Mean and Student's t; here both seeds have the same CAMs, so the differences are the same and have no width."""
    comparison = compare(runs)
    low, high = comparison.groups
    assert (low.runs, high.runs) == ((0, 1), (2, 3))
    miou = comparison.figures["labels: mIoU"]
    assert high.figures["labels: mIoU"].mean == pytest.approx((miou[2] + miou[3]) / 2)  # type: ignore[operator]
    assert high.against["labels: mIoU"] == (pytest.approx(miou[2] - miou[0]), pytest.approx(0), 2)  # type: ignore[operator]
    assert not low.against
    assert [key for key, _ in comparison.settings][-1] == "run.seed"
    known = interval([1.0, 2.0, None, 4.0])
    assert known is not None
    assert known.mean == pytest.approx(7 / 3)
    assert known.half == pytest.approx(4.302653 * np.std([1, 2, 4], ddof=1) / math.sqrt(3), rel=1e-5)
    assert interval([None, 3.0]) == (3.0, None, 1)
    assert interval([None]) is None


def test_the_page(runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    tiny.invoke("compare", *runs, "--out", page, "--photos", "2")
    text = page.read_text(encoding="utf-8")
    assert text.count('<img src="data:image/') == 2 * (1 + 4 + 1)  # photo, four runs, mask
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "labels.threshold" in text
    assert "Over seeds" in text
    assert tiny.refused("compare", *runs, "--out", tmp_path).endswith("compare.html")


def test_other_photos(runs: list[Path], given: Path, photos: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "p00.png").unlink()
    other = run(fewer, given, tmp_path / "other", threshold=0.1)
    comparison = compare([runs[0], other])
    assert comparison.photos == ("other against low0: 1 photos fewer",)
    assert comparison.unlike == ()
    assert "other photos" in comparison.note
    assert "other photos" in tiny.invoke("compare", runs[0], other).out


def test_what_cannot_be_compared(runs: list[Path], tmp_path: Path) -> None:
    assert "two runs or more" in tiny.refused("compare", runs[0])
    assert "named twice" in tiny.refused("compare", runs[0], runs[0])
    assert "no run here" in tiny.refused("compare", runs[0], tmp_path)
    assert "at least one photo" in tiny.refused("compare", *runs, "--photos", "0")


def test_iou_of_a_photo() -> None:
    truth = np.array([[0, 1, 1, 255]], np.uint8)
    labels = np.array([[0, 1, 0, 1]], np.uint8)
    assert photo_iou(labels, truth, (0,)) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert photo_iou(truth, truth, ()) == 1
