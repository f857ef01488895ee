"""A folder in which everything is wrong: the run finishes, names what was set aside, and does the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.e2e.conftest import Material

pytestmark = pytest.mark.xdist_group("runs")


def wreck(folder: Path) -> Path:
    """Six good photos among broken ones, and a tags file with a byte-order mark, CRLF and rows that make no sense."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in ("one.jpg", "two words.jpg", "ünï.png", "deep/er.jpg", "untagged.jpg", "tiny.png", "beast.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        size = (1, 1, 3) if name == "tiny.png" else (*rng.integers(20, 50, 2), 3)
        tiny.save(folder / name, rng.integers(0, 256, size, np.uint8))
    whole = (folder / "one.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no photo at all", encoding="utf-8")
    rows = [
        "image,tags", "one.jpg,disc;square", "two words.jpg,square", "ünï.png,disc", "deep/er.jpg,square",
        "untagged.jpg,", "tiny.png,disc", "cut.jpg,disc", "empty.jpg,disc", "text.jpg,square", "gone.jpg,disc",
        "beast.jpg,disc;dragon",
        "one.jpg,disc;square", "../outside.jpg,disc", "",
    ]  # fmt: skip
    (folder / "tags.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    (folder / "classes.txt").write_bytes("\ufeffdisc,red disc\r\nsquare\r\n".encode())
    return folder


def test_a_wrecked_folder(material: Material, tmp_path: Path) -> None:
    photos, out = wreck(tmp_path / "photos"), tmp_path / "run"
    settings = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
    command = ["run", material.recipe, "--data", photos, "--out", out, *settings]
    ended = tiny.invoke(*command)
    for name in ("cut.jpg", "empty.jpg", "text.jpg", "gone.jpg", "dragon", "outside"):
        assert name in ended.out, name
    dataset = json.loads((out / "data/dataset.json").read_text(encoding="utf-8"))
    good = {"one", "two words", "ünï", "deep/er", "untagged", "tiny"}
    assert {item["id"] for item in dataset["items"]} == good
    assert dataset["prompts"] == ["red disc", "square"]
    for name in good:
        assert (out / "cams" / f"{name}.npz").is_file()
        item = next(item for item in dataset["items"] if item["id"] == name)
        labels = tiny.pixels(out / "labels" / f"{name}.png")
        assert labels.shape == tuple(item["size"][::-1])
        assert set(np.unique(labels)) <= {0, *(tag + 1 for tag in item["tags"])}
    again = tiny.invoke(*command)
    assert "done in" not in again.err
    assert "cut.jpg" in again.out


def test_one_photo_is_enough(material: Material, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    tiny.save(photos / "a.png", np.random.default_rng(0).integers(0, 256, (9, 40, 3), np.uint8))
    (photos / "tags.csv").write_text("image,tags\na.png,disc\n", encoding="utf-8")
    tiny.invoke("run", material.recipe, "--data", photos, "--out", tmp_path / "run", "--set=warmup.epochs=1")
    assert tiny.pixels(tmp_path / "run/labels/a.png").shape == (9, 40)


def test_no_photo_with_a_tag(material: Material, tmp_path: Path) -> None:
    """Legal, if pointless: everything is background."""
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    (photos / "tags.csv").write_text("image,tags\n" + "".join(f"p0{i}.png,\n" for i in range(4)), encoding="utf-8")
    settings = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
    tiny.invoke("run", material.recipe, "--data", photos, "--out", tmp_path / "run", *settings)
    assert not any(tiny.pixels(path).any() for path in (tmp_path / "run/labels").glob("*.png"))


def test_nothing_readable_is_one_line(material: Material, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").touch()
    (photos / "tags.csv").write_text("image,tags\na.jpg,disc\n", encoding="utf-8")
    line = tiny.refused("run", material.recipe, "--data", photos, "--out", tmp_path / "run")
    assert "no photo can be read" in line
    assert "a.jpg" in line


UNTRAINED = [f"--set={stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]


def test_a_mask_that_cannot_be_used_is_named_and_left_out(material: Material, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=3)
    tiny.save(photos / "masks/p01.png", np.zeros((3, 3), np.uint8))
    done = tiny.invoke("run", material.recipe, "--data", photos, "--out", tmp_path / "run", *UNTRAINED)
    assert "not scored" in done.out
    assert "p01.png" in done.out
    scored = json.loads((tmp_path / "run/scores/manifest.json").read_text(encoding="utf-8"))["result"]
    assert scored["photos"] == 2
    assert len(list((tmp_path / "run/labels").glob("*.png"))) == 3
    again = tiny.invoke("score", tmp_path / "run", "--json", tmp_path / "scores.json", check=False)
    assert again.code == 1
    assert "p01.png" in again.err
    assert again.err.rstrip().endswith("the figures are of the others")
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["labels"]["miou"] is not None


def test_a_threshold_by_masks_that_are_not_there_is_refused_before_training(material: Material, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=3)
    shutil.rmtree(photos / "masks")
    chosen = "--set=labels.select=ground-truth"
    line = tiny.refused("run", material.recipe, "--data", photos, "--out", tmp_path / "run", *UNTRAINED, chosen)
    assert "no photo has one" in line
    assert not (tmp_path / "run/warmup").exists()


def test_a_photo_larger_than_max_side_gets_labels_of_its_own_size(material: Material, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=3)
    tiny.invoke(
        "run", material.recipe, "--data", photos, "--out", tmp_path / "run", *UNTRAINED, "--set=cams.max_side=20"
    )
    for path in photos.glob("p*.png"):
        assert tiny.pixels(tmp_path / "run/labels" / path.name).shape == tiny.pixels(path).shape[:2]
