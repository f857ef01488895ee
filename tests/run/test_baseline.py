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
from semples.settings.kinds import BASELINES
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


def test_names_as_their_authors_write_them() -> None:
    for name, kind in (("SAM3", "sam3"), ("CLIPSeg", "clipseg"), ("GroundingDINO+SAM", "groundingdino+sam")):
        settings = baseline_settings(f"{name}=./Weights")
        assert (settings.kind, settings.model) == (kind, "./Weights")
        assert settings == baseline_settings(f"{kind}=./Weights")
    assert baseline_settings(BRIGHT).kind == BRIGHT  # names of modules are taken as they are
    told = tiny.invoke("baseline", "--help").out.casefold()
    assert all(name in told for name in BASELINES.shipped)


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
        last = max(item.tags, default=-1)  # the class with the highest score
        above = photo.max(2) / 255 * (1 - 0.1 / (last + 1)) > 0.4 if item.tags else np.zeros(labels.shape, bool)
        expected = np.where(above, last + 1, 0)
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
    assert json.loads((folder / DESCRIBED).read_text(encoding="utf-8")) == other
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.png").write_bytes(b"")
    with pytest.raises(UserError, match="not made by this command"):
        prepare(tmp_path / "full", other, dataset.items)
    assert (tmp_path / "full/mine.png").exists()


def run_of(tmp_path: Path, *, count: int = 6) -> Path:
    """A run whose photos have been looked at, and no more."""
    photos = tiny.draw_photos(tmp_path / "photos", count=count)
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.save_clip(tmp_path / "clip"))
    tiny.invoke("run", recipe, "--data", photos, "--out", tmp_path / "run", "--until", "data")
    return tmp_path / "run"


def test_the_command(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    answer = tiny.invoke("baseline", run, "--model", BRIGHT, "--json", tmp_path / "scores.json")
    folder = run / "baselines" / BRIGHT.replace(":", "-")
    assert str(folder) in answer.out
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["labels"]
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["labels"] == scores
    dataset = open_dataset(tmp_path / "photos")
    confusion = np.zeros((3, 3))
    for item in dataset.items:
        np.add.at(confusion, (dataset.mask(item), read_label_png(folder / f"{item.id}.png")), 1)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert scores["miou"] == pytest.approx(100 * (np.diag(confusion) / union).mean(), abs=0.01)
    assert scores["miou"] > 50
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("p*.png")}
    (folder / "p02.png").unlink()
    tiny.invoke("baseline", run, "--model", BRIGHT)
    changed = {path.name for path in stamps if path.stat().st_mtime_ns != stamps[path]}
    assert changed == {"p02.png"}
    tiny.invoke("baseline", run, "--model", BRIGHT, "--set", "threshold=0.99", "--out", tmp_path / "other")
    assert not read_label_png(tmp_path / "other/p00.png").any()


def test_what_the_command_refuses(tmp_path: Path) -> None:
    run = run_of(tmp_path, count=3)
    assert "no run here" in tiny.refused("baseline", tmp_path, "--model", BRIGHT)
    assert "not known" in tiny.refused("baseline", run, "--model", "clipsig")
    assert "unknown setting" in tiny.refused("baseline", run, "--model", "clipseg", "--set", "thresold=1")
    assert "config.json" in tiny.refused("baseline", run, "--model", f"clipseg={tmp_path}")
    assert "not made by this command" in tiny.refused("baseline", run, "--model", BRIGHT, "--out", tmp_path / "photos")
