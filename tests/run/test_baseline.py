"""Label maps by another model in a run's form: as a command, interrupted, with other settings, in a wrong folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from semples.baselines.base import Baseline, make_baseline
from semples.core.errors import UserError
from semples.core.palette import read_confidence_png, read_label_png
from semples.data.dataset import open_dataset
from semples.labels.scored import Cams
from semples.run.baseline import DESCRIBED, baseline_settings, described, folder_of, prepare, write_maps
from semples.settings.baselines import BaselineSettings
from tests import tiny

BRIGHT = f"{__name__}:Bright"


class Bright(Baseline):
    """Every tagged class is where the photo is bright; the later class a little more."""

    def scores(self, photo: np.ndarray, names: Sequence[str], tags: Sequence[int]) -> Cams:
        bright = (photo.max(2) / 255).astype(np.float32)
        return {tag: bright * np.float32(1 - 0.1 / (tag + 1)) for tag in tags}


def test_settings_of_the_command() -> None:
    settings = baseline_settings("clipseg=./weights", ["threshold=0.3"])
    assert (settings.kind, settings.model, settings.threshold) == ("clipseg", "./weights", 0.3)
    assert baseline_settings("clipseg").model == "CIDAS/clipseg-rd64-refined"
    assert folder_of(Path("run"), settings) == Path("run/baselines/clipseg")
    assert folder_of(Path("run"), BaselineSettings(kind="a.b:C")) == Path("run/baselines/a.b-C")
    for wrong in (["threshold=2"], ["treshold=0.3"]):
        with pytest.raises(UserError, match="--set"):
            baseline_settings("clipseg", wrong)
    with pytest.raises(UserError, match="did you mean clipseg"):
        baseline_settings("clipsegg")


def test_maps_hold_the_tags_alone(tmp_path: Path) -> None:
    dataset = open_dataset(tiny.draw_photos(tmp_path / "photos", count=6))
    (tmp_path / "photos" / "p03.png").write_bytes(b"broken")
    problems = write_maps(dataset, dataset.items, make_baseline(BaselineSettings(kind=BRIGHT)), tmp_path / "out")
    assert len(problems) == 1
    assert "p03" in problems[0]
    for item in dataset.items:
        if item.id == "p03":
            assert not (tmp_path / "out/p03.png").exists()
            continue
        labels, photo = read_label_png(tmp_path / f"out/{item.id}.png"), dataset.photo(item)
        expected = (
            np.where(photo.max(2) / 255 * (1 - 0.1 / (max(item.tags) + 1)) > 0.4, max(item.tags) + 1, 0)
            if item.tags
            else 0
        )
        assert (labels == expected).mean() > 0.999
        assert read_confidence_png(tmp_path / f"out/confidence/{item.id}.png").shape == labels.shape


def test_a_folder_is_kept_emptied_or_refused(tmp_path: Path) -> None:
    dataset, folder = open_dataset(tiny.draw_photos(tmp_path / "photos", count=3)), tmp_path / "out"
    settings = BaselineSettings(kind=BRIGHT)
    prepare(folder, described(settings, dataset), dataset.items)
    write_maps(dataset, dataset.items, make_baseline(settings), folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert len(stamps) == 6
    prepare(folder, described(settings, dataset), dataset.items)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == stamps
    other = described(BaselineSettings(kind=BRIGHT, threshold=0.5), dataset)
    prepare(folder, other, dataset.items)
    assert not list(folder.rglob("*.png"))
    assert json.loads((folder / DESCRIBED).read_text()) == other
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.png").write_bytes(b"")
    with pytest.raises(UserError, match="not made by this command"):
        prepare(tmp_path / "full", other, dataset.items)
    assert (tmp_path / "full/mine.png").exists()
