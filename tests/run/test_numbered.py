"""Whole runs with more photos in a folder than one folder may hold files: the same results, in numbered folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from semples.api.run import Run
from semples.cams.store import CamStore
from semples.core import places
from semples.core.palette import write_label_png
from semples.core.places import NUMBERED, ids_in
from tests import tiny
from tests.segmenter import material

pytestmark = pytest.mark.xdist_group("numbered")

LIMIT, COUNT = 3, 7
LOWERED = f"from semples.core import places; places.MOST = {LIMIT}; from semples.cli import main; main()"
KINDS = {"cams": ".npz", "labels": ".png", "labels/confidence": ".png", "regions": ".npz"}


@pytest.fixture(autouse=True)
def _lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", LIMIT)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("photos"), count=COUNT)


@pytest.fixture(scope="module")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of a few seconds: nothing is trained."""
    folder = tmp_path_factory.mktemp("models")
    clip = tiny.save_clip(folder / "clip")
    vit = material.folder(folder / "vit", "semples_vit")
    changes = [
        "generator.kind=clip", f"generator.start={clip}", "labels.method=regions", "regions.proposals=slic",
        f"segmenter.model=scratch:{vit}", "segmenter.image_size=32", "segmenter.photo_size=40",
        "segmenter.iterations=3", "segmenter.batch=4",
    ]  # fmt: skip
    recipe = tiny.write_recipe(folder / "tiny.yaml", clip)
    return ["run", str(recipe), "--data", str(photos), *(f"--set={change}" for change in changes)]


@pytest.fixture(scope="module")
def flat(start: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("flat") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "MOST", 10_000)
        tiny.invoke(*start, "--out", out)
        assert not list(out.rglob(NUMBERED))
    return out


@pytest.fixture(scope="module")
def numbered(start: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("numbered") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "MOST", LIMIT)
        tiny.invoke(*start, "--out", out)
        tiny.invoke("segment", "train", out)
        yield out


def contents(run: Path) -> dict[tuple[str, str], bytes]:
    """Every photo's files by their kind and the photo's id."""
    return {
        (kind, path.name): path.read_bytes()
        for kind, suffix in KINDS.items()
        for path in (run / kind).rglob(f"*{suffix}")
        if kind != "labels" or "confidence" not in path.parts
    }


def sizes(folder: Path, suffix: str) -> list[int]:
    return [len(list(path.glob(f"*{suffix}"))) for path in sorted(folder.glob("0*"))]


def test_a_whole_run(flat: Path, numbered: Path) -> None:
    assert contents(flat) == contents(numbered)
    for kind, suffix in KINDS.items():
        assert sizes(numbered / kind, suffix) == [3, 3, 1], kind
        assert not list((numbered / kind).glob(f"*{suffix}"))
    for name in ("scores/scores.json", "selection/selection.json", "curve/curve.json", "data/dataset.json"):
        assert (flat / name).read_bytes() == (numbered / name).read_bytes()
    assert CamStore(numbered / "cams").ids() == [f"p{place:02d}" for place in range(COUNT)]
    assert [one.state for one in Run(numbered).status()] == ["done"] * len(Run(numbered).status())


def test_what_is_done_with_it(flat: Path, numbered: Path, photos: Path, tmp_path: Path) -> None:
    """Every command that reads the files of photos finds them."""
    one, other = Run(flat), Run(numbered)
    for id in one.labels:
        assert np.array_equal(one.labels[id], other.labels[id])
        assert one.cams[id].keys() == other.cams[id].keys()
    assert tiny.invoke("score", numbered).out == tiny.invoke("score", flat).out
    tiny.invoke("report", numbered)
    assert "p06" in (numbered / "report.html").read_text(encoding="utf-8")
    compared = tiny.invoke("compare", flat, numbered, "--out", tmp_path / "compared.html")
    assert compared.code == 0
    for place in (flat, numbered):
        tiny.invoke("export", "voc", place, "--out", tmp_path / f"voc-{place.parent.name}")
    left, right = sorted(tmp_path.glob("voc-*"))
    maps = [sorted(folder.rglob("SegmentationClass/*.png")) for folder in (left, right)]
    assert len(maps[0]) == COUNT  # VOC's folder is flat, whatever ours are
    assert [path.read_bytes() for path in maps[0]] == [path.read_bytes() for path in maps[1]]
    relabelled = tmp_path / "relabelled"
    tiny.invoke("relabel", numbered, "--out", relabelled)
    assert sizes(relabelled, ".png") == sizes(relabelled / "confidence", ".png") == [3, 3, 1]
    combined = tmp_path / "combined"
    tiny.invoke("combine", numbered, numbered / "labels", relabelled, flat / "labels", "--out", combined)
    assert sizes(combined, ".png") == [3, 3, 1]
    labelled = tmp_path / "labelled"
    tiny.invoke("label", "--cams", numbered / "cams", "--data", photos, "--threshold", "0.4", "--out", labelled)
    again = tmp_path / "again"
    tiny.invoke("label", "--cams", flat / "cams", "--data", photos, "--threshold", "0.4", "--out", again)
    assert sizes(labelled, ".png") == [3, 3, 1]
    assert {p.name: p.read_bytes() for p in labelled.rglob("*.png")} == {
        p.name: p.read_bytes() for p in again.rglob("*.png")
    }
    options = [f"--set=segmenter.{key}={value}" for key, value in {"image_size": 32, "iterations": 3}.items()]
    model = json.loads((numbered / "run.json").read_text(encoding="utf-8"))["recipe"]["segmenter"]["model"]
    tiny.invoke(
        "segment", "train", "--photos", photos, "--labels", numbered / "labels", "--classes", photos / "classes.txt",
        "--out", tmp_path / "trained", *options, f"--set=segmenter.model={model}", "--set=segmenter.photo_size=40",
    )  # fmt: skip
    assert '"photos": 7' in (tmp_path / "trained" / "segmenter" / "manifest.json").read_text(encoding="utf-8")
    assert tiny.invoke("segment", "eval", numbered, "--data", photos).code == 0


def test_a_flat_run_goes_on_flat(flat: Path, start: list[str], tmp_path: Path) -> None:
    """One that was made before folders were numbered, and cut: nothing is made twice."""
    out = tmp_path / "run"
    shutil.copytree(flat, out)
    gone = [out / "cams" / "p03.npz", out / "labels" / "p05.png"]
    for path in gone:
        path.unlink()
    said = tiny.invoke(*start, "--out", out).err
    assert "missing or damaged, made again" in said
    assert contents(out) == contents(flat)
    assert all(path.is_file() for path in gone)
    assert not list(out.rglob(NUMBERED))


def test_a_lost_list_is_made_again(numbered: Path, start: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(numbered, out)
    (out / "cams" / NUMBERED).unlink()
    (out / "labels" / NUMBERED).write_text("{", encoding="utf-8")
    tiny.invoke(*start, "--out", out)
    assert contents(out) == contents(numbered)
    assert sizes(out / "cams", ".npz") == sizes(out / "labels", ".png") == [3, 3, 1]


def test_killed_and_gone_on(numbered: Path, start: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", LOWERED, *start, "--out", str(out)], env=tiny.environment(),
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(out.glob("cams/*/*.npz"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "resuming" in tiny.invoke(*start, "--out", out).err
    assert contents(out) == contents(numbered)
    assert sizes(out / "cams", ".npz") == [3, 3, 1]


@pytest.mark.slow
def test_two_processes(numbered: Path, start: list[str], tmp_path: Path) -> None:
    script, out = tmp_path / "lowered.py", tmp_path / "run"
    script.write_text(LOWERED.replace("; ", "\n") + "\n", encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    command = [*map(str, launch), *start, "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=tiny.environment(), check=False)
    assert ended.returncode == 0, ended.stderr
    assert contents(out).keys() == contents(numbered).keys()
    for kind, suffix in KINDS.items():
        assert sizes(out / kind, suffix) == [3, 3, 1], kind
    predicted = tmp_path / "predicted"
    command = [*map(str, launch), "predict", str(numbered), start[start.index("--data") + 1], "--out", str(predicted)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=tiny.environment(), check=False)
    assert ended.returncode == 0, ended.stderr
    assert sizes(predicted / "labels", ".png") == sizes(predicted / "overlays", ".jpg") == [3, 3, 1]


def test_predictions(numbered: Path, photos: Path, tmp_path: Path) -> None:
    out, some = tmp_path / "predicted", sorted(photos.glob("p*.png"))
    tiny.invoke("predict", numbered, photos, "--out", out, "--confidence")
    for kind, suffix in {"labels": ".png", "overlays": ".jpg", "confidence": ".png"}.items():
        assert sizes(out / kind, suffix) == [3, 3, 1]
    first = {path.name: path.stat().st_mtime_ns for path in (out / "labels").rglob("*.png")}
    (out / "labels" / "00001" / "p04.png").unlink()
    tiny.invoke("predict", numbered, *some, "--out", out, "--confidence")
    again = {path.name: path.stat().st_mtime_ns for path in (out / "labels").rglob("*.png")}
    assert [name for name in first if first[name] != again[name]] == ["p04.png"]
    assert sizes(out / "labels", ".png") == [3, 3, 1]
    tiny.invoke("export", "coco", out, "--out", tmp_path / "coco")
    assert sorted(ids_in(out / "labels", ".png")) == [path.stem for path in some]


def test_label_maps_that_were_painted_over(numbered: Path, tmp_path: Path) -> None:
    """A copy of the run's folder of label maps, as somebody has mended them, comes back as corrections."""
    out, mended = tmp_path / "run", tmp_path / "mended"
    shutil.copytree(numbered, out)
    shutil.copytree(numbered / "labels", mended)
    path = mended / "00001" / "p04.png"
    before = tiny.pixels(path)
    write_label_png(path, np.where(before == 0, 1, 0).astype(np.uint8))
    tiny.invoke("correct", out, mended)
    assert np.array_equal(tiny.pixels(out / "labels" / "00001" / "p04.png"), tiny.pixels(path))
    assert json.loads((out / "labels" / "corrected.json").read_text(encoding="utf-8")) == ["p04"]


def test_label_maps_are_a_data_sets_masks_where_they_lie(numbered: Path, photos: Path, tmp_path: Path) -> None:
    """The folder of label maps, linked as `masks`: nothing in it is moved."""
    data, labels = tmp_path / "data", numbered / "labels"
    shutil.copytree(photos, data, ignore=shutil.ignore_patterns("masks"))
    (data / "masks").symlink_to(labels, target_is_directory=True)
    said = tiny.invoke("score", tmp_path, "--labels", labels, "--data", data).out
    assert "100.0" in said
    checked = tiny.invoke("data", "check", data).out
    assert f"{COUNT} masks" in checked
    assert "belongs to no photo" not in checked
    assert "no mask" not in checked


def test_label_maps_from_elsewhere_may_lie_flat(photos: Path, tmp_path: Path) -> None:
    """However many: nobody is asked to sort them."""
    flat = photos / "masks"
    assert len(list(flat.glob("*.png"))) == COUNT > LIMIT
    said = tiny.invoke("score", tmp_path, "--labels", flat, "--data", photos)
    assert "100.0" in said.out
