"""`semples segment` as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from semples.prediction.evaluate import draw_confusion
from semples.run import summary
from semples.segmenter.build import Segmenter
from tests import tiny
from tests.segmenter import material

LABELS = "masks"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("photos"), count=8)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    source = material.folder(tmp_path_factory.mktemp("config") / "vit", "semples_vit")
    changes = {"model": f"scratch:{source}", "image_size": 32, "photo_size": 40, "iterations": 3, "batch": 4}
    return [f"--set=segmenter.{key}={value}" for key, value in changes.items()] + ["--set=data.workers=0"]


@pytest.fixture(scope="module")
def trained(photos: Path, options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    said = tiny.invoke("segment", "train", "--photos", photos, "--labels", photos / LABELS, "--out", out, *options)
    assert "semples segment eval" in said.out
    return out


def test_train_on_folders_and_again(trained: Path, photos: Path, options: list[str]) -> None:
    model = trained / "segmenter" / "model"
    segmenter = Segmenter.load(model)
    assert segmenter.classes == ("disc", "square")
    assert segmenter.config.size == 40
    assert segmenter.network.config.image_size == 64  # scratch:FOLDER is built as its config.json says
    manifest = json.loads((trained / "segmenter" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["result"] == {"photos": 8, "iterations": 3, "network": "semples_vit"} | dict.fromkeys(
        ("set_aside", "unlabelled"), 0
    )
    assert not (trained / "segmenter" / "checkpoint.safetensors").exists()
    command = ["segment", "train", "--photos", photos, "--labels", photos / LABELS, "--out", trained, *options]
    assert "up to date" in tiny.invoke(*command).err


def test_figures_of_a_runs_segmenter_join_its_summary(trained: Path, photos: Path, tmp_path: Path) -> None:
    """`segment eval --out` of a segmenter in a run's folder leaves the run's summary with the segmenter's figures."""
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
    stored = {"format": summary.FORMAT, "figures": {"estimated_miou": 50.0}}
    (trained / summary.SUMMARY).write_text(json.dumps(stored), encoding="utf-8")
    tiny.invoke("segment", "eval", trained / "segmenter" / "model", "--data", photos, "--out", tmp_path)
    (trained / summary.SUMMARY).unlink()
    figures = json.loads((tmp_path / summary.SUMMARY).read_text(encoding="utf-8"))["figures"]
    scored = json.loads((tmp_path / "eval.json").read_text(encoding="utf-8"))
    assert figures["estimated_miou"] == 50
    assert figures["segmenter"]["miou"] == scored["miou"]
    assert figures["segmenter"]["photos"] == 8
    jsonschema.Draft202012Validator(summary.schema()["properties"]["figures"]).validate(figures)
    tiny.invoke("segment", "eval", trained / "segmenter" / "model", "--data", photos, "--out", tmp_path / "alone")
    assert not (tmp_path / "alone" / summary.SUMMARY).exists()


def test_scores_of_photos_with_masks(trained: Path, photos: Path, tmp_path: Path) -> None:
    model = trained / "segmenter" / "model"
    said = tiny.invoke("segment", "eval", model, "--data", photos, "--out", tmp_path, "--json", tmp_path / "x.json")
    figures = json.loads((tmp_path / "eval.json").read_text(encoding="utf-8"))
    assert figures == json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert figures["photos"] == 8
    assert [row["class"] for row in figures["classes"]] == ["background", "disc", "square"]
    confusion = np.array(figures["confusion"])
    iou = 100 * confusion[0, 0] / (confusion[0].sum() + confusion[:, 0].sum() - confusion[0, 0])
    assert figures["classes"][0]["iou"] == pytest.approx(iou)
    assert 0 <= figures["boundary_iou"] <= 100
    assert "boundary IoU" in said.out
    assert "square" in said.out
    with Image.open(tmp_path / "confusion.png") as picture:
        assert np.asarray(picture).std() > 10
    # A run's folder will do as well.
    assert tiny.invoke("segment", "eval", trained, "--data", photos).out.startswith(said.out[:100])


def test_the_confusion_picture_shows_shares(tmp_path: Path) -> None:
    confusion = np.array([[90, 10, 0, 0], [50, 0, 50, 0], [0, 0, 7, 0]])
    draw_confusion(confusion, ("a", "a long name"), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        colours = {colour for _, colour in picture.getcolors(100_000) or []}
    assert (0x1F, 0x4E, 0x9E) in colours  # all of a row right
    assert (245, 245, 245) in colours


def test_what_cannot_be_trained_or_scored(trained: Path, photos: Path, options: list[str], tmp_path: Path) -> None:
    assert "name either the folder of a run" in tiny.refused("segment", "train")
    assert "--photos needs --labels" in tiny.refused("segment", "train", "--photos", photos)
    assert "no run here" in tiny.refused("segment", "train", tmp_path)
    assert "its own classes" in tiny.refused("segment", "train", trained, "--classes", photos / "classes.txt")
    for option in (["--labels", photos / LABELS], ["--out", tmp_path / "out"]):
        assert "needs both --labels" in tiny.refused("segment", "train", trained, *option)
    command = ["segment", "train", trained, "--labels", photos / LABELS, "--out", trained]
    assert "the run's own segmenter lies there" in tiny.refused(*command)
    other = shutil.copytree(photos, tmp_path / "other")
    (other / "classes.txt").write_text("disc\n", encoding="utf-8")
    command = ["segment", "train", "--photos", other, "--labels", other / LABELS, "--out", tmp_path / "out", *options]
    assert "holds the label 2, but there are 1 classes" in tiny.refused(*command)
    (other / "classes.txt").write_text("disc\nsquare\ncat\n", encoding="utf-8")
    model = trained / "segmenter" / "model"
    assert "the segmenter knows 2 (disc, square" in tiny.refused("segment", "eval", model, "--data", other)
    assert "neither a segmenter" in tiny.refused("segment", "eval", photos, "--data", photos)
    shutil.rmtree(other / LABELS)
    (other / "classes.txt").write_text("disc\nsquare\n", encoding="utf-8")
    assert "no photo has a usable mask" in tiny.refused("segment", "eval", model, "--data", other)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_photo_is_set_aside_and_the_others_teach(
    workers: int, photos: Path, options: list[str], tmp_path: Path
) -> None:
    other = shutil.copytree(photos, tmp_path / "other")
    damaged = other / "p03.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    (other / "p05.png").write_bytes(b"no photo")
    (other / LABELS / "p06.png").unlink()
    command = [
        "segment",
        "train",
        "--photos",
        other,
        "--labels",
        other / LABELS,
        *options,
        f"--set=data.workers={workers}",
    ]
    said = tiny.invoke(*command, "--out", tmp_path / "out")
    assert "2 set aside:" in said.out
    assert f"{damaged}: damaged or cut off" in said.out
    folder = tmp_path / "out" / "segmenter"
    result = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["result"]
    assert (result["photos"], result["set_aside"], result["unlabelled"]) == (5, 2, 1)
    assert "learned from 5 photos; 1 without a label map" in said.out
    for name in ("p03", "p05"):
        (other / f"{name}.png").unlink()
    tiny.invoke(*command, "--out", tmp_path / "without")
    model = Path("segmenter", "model", "model.safetensors")
    assert (tmp_path / "out" / model).read_bytes() == (tmp_path / "without" / model).read_bytes()
    for path in other.glob("p*.png"):
        path.write_bytes(b"")
    assert "no photo can be read" in tiny.refused(*command, "--out", tmp_path / "none")


def test_photos_kept_decoded_change_nothing(trained: Path, photos: Path, options: list[str], tmp_path: Path) -> None:
    command = ["segment", "train", "--photos", photos, "--labels", photos / LABELS, *options]
    tiny.invoke(*command, "--set=data.cache=no", "--out", tmp_path / "without")
    tiny.invoke(*command, "--set=data.train_side=30", "--out", tmp_path / "small")
    model = Path("segmenter", "model", "model.safetensors")
    kept, without, small = (
        (folder / model).read_bytes() for folder in (trained, tmp_path / "without", tmp_path / "small")
    )
    assert kept == without != small


def test_licences_are_named() -> None:
    shown = tiny.invoke("recipes", "show", "voc").out
    assert "NVIDIA Source Code License" in shown
    assert "as the publishers state it" in shown
    assert "MIT (unverified)" in shown


@pytest.mark.xdist_group("processes")
def test_two_processes_equal_one(photos: Path, options: list[str], tmp_path: Path) -> None:
    # Averaged weights and capped losses as well; epsilon above the rounding of gradients that are zero but for it.
    changes = ["--set=segmenter.noise.ema=0.9", "--set=segmenter.noise.clip=photo", "--set=segmenter.adam_epsilon=1e-6"]
    command = ["segment", "train", "--photos", photos, "--labels", photos / LABELS, *options, *changes, "--out"]
    tiny.invoke(*command, tmp_path / "one")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "semples"]
    ended = subprocess.run(
        list(map(str, [*launch, *command, tmp_path / "two"])),
        capture_output=True, text=True, timeout=300, env=tiny.environment(), check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("segmenter: done") == 1
    one, two = (load_file(tmp_path / name / "segmenter" / "model" / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) <= 1e-5
