"""Whole runs: real and drawn photos in, CAMs, labels and scores out; what is redone after which change."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.recipe import Recipe
from semples.run.health import is_look
from semples.run.pipeline import run_steps
from tests import tiny
from tests.e2e.conftest import Material

pytestmark = pytest.mark.xdist_group("runs")

ALL = [step.name for step in run_steps(Recipe()) if not is_look(step.name)]
AFTER = ALL[ALL.index("cams") :]


def states(err: str) -> dict[str, str]:
    """What standard error says became of every step: `done` or `up to date`."""
    by_step = {}
    for line in err.splitlines():
        name, _, rest = line.partition(": ")
        if name in (*ALL, "regions") and (rest == "up to date" or rest.startswith("done")):
            by_step[name] = "up to date" if rest == "up to date" else "done"
    return by_step


def redone(err: str) -> list[str]:
    return [name for name, state in states(err).items() if state == "done"]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A finished run to play with."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def again(material: Material, out: Path, *more: str) -> str:
    return tiny.invoke("run", material.recipe, "--data", material.photos, "--out", out, *more).err


def photo_shapes(material: Material) -> dict[str, tuple[int, int]]:
    return {path.stem: tiny.pixels(path).shape[:2] for path in sorted(material.photos.glob("*.png"))}


# ---------------------------------------------------------------------------------------------------- what comes out


def test_every_photo_has_cams_and_a_label_map(finished: Path, material: Material) -> None:
    store = CamStore(finished / "cams")
    tags = {
        row["id"]: row["tags"]
        for row in json.loads((finished / "data/dataset.json").read_text(encoding="utf-8"))["items"]
    }
    thresholds = list(
        json.loads((finished / "selection/selection.json").read_text(encoding="utf-8"))["per_class"].values()
    )
    for name, shape in photo_shapes(material).items():
        cams, stored = store.read_with_shape(name)
        assert stored == shape
        assert list(cams) == tags[name]
        for cam in cams.values():
            assert cam.shape == shape
            assert 0 <= cam.min() <= cam.max() <= 1
        labels = tiny.pixels(finished / "labels" / f"{name}.png")
        expected = np.zeros(shape, np.uint8)
        for label, cam in cams.items():
            wins = np.all([cam >= other for other in cams.values()], axis=0)
            expected[wins & (cam > np.float32(thresholds[label]))] = label + 1
        np.testing.assert_array_equal(labels, expected)


def test_scores_are_those_of_the_files(finished: Path, material: Material) -> None:
    """Confusion counted pixel by pixel from the label files gives the stored figures."""
    confusion = np.zeros((3, 3))
    for path in (finished / "labels").glob("*.png"):
        np.add.at(confusion, (tiny.pixels(material.photos / "masks" / path.name), tiny.pixels(path)), 1)
    true = np.diag(confusion)
    iou = 100 * true / (confusion.sum(0) + confusion.sum(1) - true)
    scores = json.loads((finished / "scores/scores.json").read_text(encoding="utf-8"))
    assert scores["labels"]["miou"] == pytest.approx(iou.mean())
    assert scores["cams"]["best"]["miou"] >= scores["cams"]["first_peak"]["miou"]
    assert scores["cams"]["best"]["miou"] >= scores["labels"]["miou"]


def test_the_published_layout(material: Material, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = tiny.invoke("run", material.recipe, "--data", material.voc, "--out", out)
    assert redone(first.err) == ALL
    assert len(list((out / "labels").glob("*.png"))) == 10
    assert json.loads((out / "scores/scores.json").read_text(encoding="utf-8"))["labels"]["miou"] > 0
    assert set(states(again_voc(material, out)).values()) == {"up to date"}


def again_voc(material: Material, out: Path) -> str:
    return tiny.invoke("run", material.recipe, "--data", material.voc, "--out", out).err


def test_real_photos(real_photos: Path, material: Material, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
    command = ["run", material.recipe, "--data", real_photos, "--out", out, *settings, "--set=cams.scales=[0.5, 0.6]"]
    assert redone(tiny.invoke(*command).err) == ALL
    dataset = json.loads((out / "data/dataset.json").read_text(encoding="utf-8"))
    assert dataset["items"]
    for item in dataset["items"]:
        labels = tiny.pixels(out / "labels" / f"{item['id']}.png")
        assert labels.shape == tuple(item["size"][::-1])
        assert set(np.unique(labels)) <= {0, *(tag + 1 for tag in item["tags"])}
    scores = json.loads((out / "scores/scores.json").read_text(encoding="utf-8"))
    assert scores["labels"]["miou"] > 0
    assert set(states(tiny.invoke(*command).err).values()) == {"up to date"}


# ------------------------------------------------------------------------------------------------- what is made anew


def test_a_second_call_does_nothing(material: Material, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file() and path.name != ".lock"}
    err = again(material, copy)
    assert states(err) == dict.fromkeys(ALL, "up to date")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("labels.threshold=0.6", []),
        ("labels.select=fixed", ["labels", "scores"]),
        ("labels.per_class=true", ["labels", "scores"]),
        ("labels.method=crf", ["selection", "labels", "scores"]),
        ("selection.photos=3", ["selection", "labels", "scores"]),
        ("scores.curve_end=90", ["curve", "scores"]),
        ("cams.scales=[1.0]", AFTER),
        ("refinement.lambda_refinement=0.5", ["refinement", *AFTER]),
        ("prompts.full_stop=word", ["prompting", "refinement", *AFTER]),
        (
            "matching.epochs=1",
            ["matching", "prompting", "refinement", *AFTER],
        ),
        ("run.log_every=1", []),
        ("run.checkpoint_seconds=100", []),
        ("data.workers=1", []),
        ("cams.batch=3", []),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(
    material: Material, copy: Path, change: str, expected: list[str]
) -> None:
    assert redone(again(material, copy, f"--set={change}")) == expected


def test_a_changed_photo_or_tag_starts_over_and_a_changed_mask_only_scores(material: Material, tmp_path: Path) -> None:
    photos, out = shutil.copytree(material.photos, tmp_path / "photos"), tmp_path / "run"
    quick = [f"--set={stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
    command = ["run", material.recipe, "--data", photos, "--out", out, *quick]
    tiny.invoke(*command)
    shutil.copy(photos / "masks/p00.png", tmp_path)
    mask = tiny.pixels(photos / "masks/p00.png")
    tiny.save(photos / "masks/p00.png", np.where(mask == 0, np.uint8(255), mask))
    assert redone(tiny.invoke(*command).err) == ["curve", "scores"]
    (photos / "masks/p00.png").unlink()
    assert redone(tiny.invoke(*command).err) == ["curve", "scores"]
    shutil.copy(tmp_path / "p00.png", photos / "masks")
    assert redone(tiny.invoke(*command).err) == ["curve", "scores"]
    tiny.save(photos / "p00.png", tiny.pixels(photos / "p00.png") // 2)
    assert redone(tiny.invoke(*command).err) == ALL
    rows = (photos / "tags.csv").read_text(encoding="utf-8").splitlines()
    (photos / "tags.csv").write_text("\n".join([*rows[:-1], "p09.png,disc"]) + "\n", encoding="utf-8")
    assert redone(tiny.invoke(*command).err) == ALL


def test_a_moved_folder_of_photos_changes_nothing(material: Material, copy: Path, tmp_path: Path) -> None:
    photos, moved = shutil.copytree(material.photos, tmp_path / "photos"), tmp_path / "moved"
    photos.rename(moved)
    command = ["run", material.recipe, "--data", moved, "--out", copy]
    assert redone(tiny.invoke(*command).err) == []
    assert redone(tiny.invoke(*command, "--set=cams.scales=[1.0]").err) == [
        "cams",
        "selection",
        "curve",
        "labels",
        "scores",
    ]
    (moved / "p00.png").rename(tmp_path / "p00.png")
    assert "photo p00 of this run is not here" in tiny.refused("report", copy)


def test_masks_that_come_later(material: Material, tmp_path: Path) -> None:
    photos, out = shutil.copytree(material.photos, tmp_path / "photos"), tmp_path / "run"
    shutil.move(photos / "masks", tmp_path / "masks")
    quick = [f"--set={stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
    command = ["run", material.recipe, "--data", photos, "--out", out, *quick]
    tiny.invoke(*command)
    assert len(list((out / "labels").glob("*.png"))) == 10
    assert not (out / "scores/scores.json").exists()
    assert "no photo has a mask" in tiny.invoke("score", out).out
    shutil.move(tmp_path / "masks", photos / "masks")
    assert redone(tiny.invoke(*command).err) == ["curve", "scores"]
    assert json.loads((out / "scores/scores.json").read_text(encoding="utf-8"))["labels"]["miou"] > 0


def test_from_and_until(material: Material, copy: Path) -> None:
    assert redone(again(material, copy, "--from", "curve", "--until", "labels")) == ["curve", "labels"]
    assert list(states(again(material, copy, "--until", "matching"))) == ["data", "warmup", "matching"]
    command = ("run", material.recipe, "--data", material.photos, "--out", copy)
    assert "comes after --until" in tiny.refused(*command, "--from", "labels", "--until", "cams")
    assert "no such step" in tiny.refused(*command, "--from", "lables")


def test_foreign_run_folders_are_named(material: Material, copy: Path) -> None:
    command = ("run", material.recipe, "--data", material.photos, "--out", copy)
    (copy / "matching/manifest.json").write_text(
        '{"fingerprint": "f", "seconds": 1, "result": {}, "semples": "0.0.9"}', encoding="utf-8"
    )
    assert "matching/manifest.json: made by semples 0.0.9" in tiny.refused(*command)
    shutil.rmtree(copy / "matching")
    (copy / "matching").mkdir()
    (copy / "matching/notes.txt").write_text("mine", encoding="utf-8")
    assert "not made by this program" in tiny.refused(*command)
    assert (copy / "matching/notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_second_run_in_the_same_folder_is_kept_out(material: Material, copy: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with open(copy / ".lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        line = tiny.refused("run", material.recipe, "--data", material.photos, "--out", copy)
    assert "another run is writing here" in line


# ------------------------------------------------------------------------------------------------ commands on a run


def test_status(material: Material, copy: Path) -> None:
    text = tiny.invoke("status", copy).out
    assert text.count("done") >= len(ALL)
    assert "to go on" not in text
    shutil.rmtree(copy / "cams")
    text = tiny.invoke("status", copy).out
    assert "not run" in text
    assert "outdated" in text
    command = next(line for line in text.splitlines() if line.startswith("to go on: semples "))
    ended = tiny.invoke(*shlex.split(command.removeprefix("to go on: semples ")))
    assert redone(ended.err) == ["cams"]


def test_status_knows_changed_settings(material: Material, copy: Path) -> None:
    """A run that was started with other settings and stopped early leaves its later steps outdated."""
    again(material, copy, "--set=matching.epochs=1", "--until", "data")
    rows = {line.split("│")[1].strip(): line for line in tiny.invoke("status", copy).out.splitlines() if "│" in line}
    assert "outdated" not in rows["warmup"]
    for name in ("matching", "prompting", "refinement", "cams", "labels"):
        assert "outdated" in rows[name], name


def test_single_steps(material: Material, tmp_path: Path) -> None:
    out = tmp_path / "run"
    tiny.invoke("train", "warmup", "--out", out, "--data", material.photos, "--recipe", material.recipe)
    assert "needs the step warmup" not in tiny.invoke("train", "matching", "--out", out).err
    assert "needs the step prompting" in tiny.refused("train", "refinement", "--out", out)
    tiny.invoke("cams", out, "--stage", "matching")
    assert len(CamStore(out / "cams-matching").ids()) == 10
    text = tiny.invoke("score", out, "--stage", "matching", "--json", tmp_path / "scores.json").out
    assert "best mIoU" in text
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["cams"]["best"]["miou"] > 0
    tiny.invoke("train", "prompting", "--out", out)
    tiny.invoke("train", "refinement", "--out", out)
    tiny.invoke("cams", out)
    tiny.invoke("label", out, "--threshold", "0.3")
    assert json.loads((out / "labels/manifest.json").read_text(encoding="utf-8"))["result"]["threshold"] == 0.3


def test_published_format(material: Material, copy: Path, tmp_path: Path) -> None:
    """`--format npy` writes what the published programs read, and the same labels come from it."""
    exact = tmp_path / "labels"
    tiny.invoke("cams", copy, "--format", "npy")
    compact = CamStore(copy / "cams", format="npy")
    for name in compact.ids():
        stored = np.load(copy / "cams" / f"{name}.npy", allow_pickle=True).item()
        assert isinstance(stored, dict)
        for label, cam in compact.read(name).items():
            assert stored[label].dtype == np.float32
            np.testing.assert_array_equal(stored[label], cam)
    command = ("--cams", copy / "cams", "--data", material.photos)
    tiny.invoke("label", copy, "--threshold", "0.4")
    before = {path.name: tiny.pixels(path) for path in (copy / "labels").glob("*.png")}
    tiny.invoke("label", exact, *command, "--threshold", "0.4")
    for name, labels in before.items():
        assert (tiny.pixels(exact / name) != labels).mean() < 0.002  # compact maps are rounded to 1/20000
    text = tiny.invoke(
        "score", tmp_path / "x", *command, "--json", tmp_path / "cams.json", "--set=scores.curve_start=5"
    ).out
    assert "best mIoU" in text
    tiny.invoke(
        "score", tmp_path / "y", "--labels", exact, "--data", material.photos, "--json", tmp_path / "labels.json"
    )
    given = json.loads((tmp_path / "labels.json").read_text(encoding="utf-8"))["labels"]["miou"]
    tiny.invoke("score", copy, "--json", tmp_path / "own.json")
    assert given == pytest.approx(
        json.loads((tmp_path / "own.json").read_text(encoding="utf-8"))["labels"]["miou"], abs=0.1
    )


def test_cams_of_given_weights(material: Material, finished: Path, tmp_path: Path) -> None:
    """A generator of this program, used on the same photos, gives the run's CAMs; a published checkpoint its own."""
    import torch
    from safetensors.torch import load_file

    weights = finished / "refinement/generator.safetensors"
    common = ("--data", material.photos, "--recipe", material.recipe)
    tiny.invoke("cams", tmp_path / "one", "--weights", weights, *common)
    torch.save({"model": load_file(weights), "epoch": 3}, tmp_path / "checkpoint.pth")
    tiny.invoke("cams", tmp_path / "two", "--weights", tmp_path / "checkpoint.pth", *common)
    for path in sorted((finished / "cams").glob("*.npz")):
        assert path.read_bytes() == (tmp_path / "one/cams" / path.name).read_bytes()
        assert path.read_bytes() == (tmp_path / "two/cams" / path.name).read_bytes()


def test_threshold_by_ground_truth(material: Material, copy: Path) -> None:
    err = again(material, copy, "--set=labels.select=ground-truth")
    assert redone(err) == ["labels", "scores"]
    scores = json.loads((copy / "scores/scores.json").read_text(encoding="utf-8"))
    assert scores["labels"]["select"] == "ground-truth"
    assert scores["labels"]["threshold"] == scores["cams"]["best"]["threshold"]
    assert scores["labels"]["miou"] == pytest.approx(scores["cams"]["best"]["miou"], abs=1e-9)


def test_labels_by_regions(material: Material, copy: Path, tmp_path: Path) -> None:
    """Regions are made once and kept; every label map has a confidence map; the least certain photos are listed."""
    felzenszwalb = ("--set=regions.proposals=felzenszwalb", "--set=regions.scales=[10,40]")
    fixed = "--set=labels.select=fixed"
    assert redone(tiny.invoke("regions", copy, *felzenszwalb).err) == ["regions"]
    assert len(list((copy / "regions").glob("*.npz"))) == 10
    before = {path.name: path.read_bytes() for path in (copy / "labels").glob("*.png")}
    listed = tmp_path / "review.json"
    said = tiny.invoke("label", copy, "--method", "regions+crf", "--review", "3", "--json", listed, fixed)
    assert redone(said.err) == ["labels"]
    entries = json.loads(listed.read_text(encoding="utf-8"))["photos"]
    assert len(entries) == 3
    assert "measured with the photos' masks" in said.out
    assert all(entry["photo"] in said.out for entry in entries)
    assert entries == sorted(entries, key=lambda entry: entry["certainty"])
    assert set(before) == {path.name for path in (copy / "labels/confidence").glob("*.png")}
    assert any((copy / "labels" / name).read_bytes() != data for name, data in before.items())
    for name in before:
        labels, confidence = tiny.pixels(copy / "labels" / name), tiny.pixels(copy / "labels/confidence" / name)
        assert confidence.shape == labels.shape
        assert confidence.dtype == np.uint8
    remade = redone(again(material, copy, "--set=labels.method=regions", fixed, *felzenszwalb))
    assert remade[-2:] == ["labels", "scores"]
    assert "regions" not in remade
    assert redone(tiny.invoke("label", copy, "--set=labels.min_confidence=0.2").err) == ["labels"]
    opened = 0
    for name in before:
        labels, confidence = tiny.pixels(copy / "labels" / name), tiny.pixels(copy / "labels/confidence" / name)
        np.testing.assert_array_equal(labels[confidence < 50] == 255, True)
        np.testing.assert_array_equal(labels[confidence > 52] == 255, False)
        opened += int((labels == 255).sum())
    assert opened
    outside = ("--cams", copy / "cams", "--data", material.photos, "--method", "regions", *felzenszwalb)
    tiny.invoke("label", tmp_path / "outside", *outside, "--set=labels.min_confidence=0.2")
    for name in before:
        np.testing.assert_array_equal(tiny.pixels(tmp_path / "outside" / name), tiny.pixels(copy / "labels" / name))
    assert "from 1" in tiny.refused("label", copy, "--review", "0")


def test_prompts(finished: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# mine\nriver\nroad\n\nriver\nsky\n", encoding="utf-8")
    tiny.invoke("prompts", finished, "--words", words, "--count", "2", "--json", tmp_path / "words.json")
    nearest = json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))
    assert list(nearest) == ["disc", "square"]
    for rows in nearest.values():
        assert len(rows) == 2
        assert {row["word"] for row in rows} <= {"river", "road", "sky"}
        assert rows[0]["cosine"] >= rows[1]["cosine"]
    assert "no such word list" in tiny.refused("prompts", finished, "--words", tmp_path / "none.txt")
