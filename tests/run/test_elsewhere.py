"""CAMs of other programs: found by path or by name, labelled by regions without SAM; lists as people write them."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from semples.cams.elsewhere import CamsElsewhere
from semples.cams.store import CamStore
from semples.core.errors import UnusableFile, UserError
from semples.recipe import load_recipe
from tests import tiny


def cams(folder: Path, *ids: str) -> Path:
    for place, id in enumerate(ids, start=1):
        CamStore(folder).write(id, {0: np.full((2, 3), place / 10, np.float32)}, (2, 3))
    return folder


def test_found_by_path_then_by_name(tmp_path: Path) -> None:
    store = CamsElsewhere(cams(tmp_path, "a/boat", "pond", "deep/er/tree"), ["a/boat", "b/pond", "tree", "gone"])
    for id, place in (("a/boat", 1), ("b/pond", 2), ("tree", 3)):
        assert store.read(id)[0][0, 0] == pytest.approx(place / 10, abs=1e-4)
    with pytest.raises(UnusableFile, match=r"no CAMs of the photo gone; a file gone\.npy"):
        store.read("gone")


def test_no_guess_where_several_fit(tmp_path: Path) -> None:
    two_photos = CamsElsewhere(cams(tmp_path / "flat", "boat"), ["a/boat", "b/boat"])
    two_files = CamsElsewhere(cams(tmp_path / "deep", "x/boat", "y/boat"), ["boat"])
    path_wins = CamsElsewhere(cams(tmp_path / "both", "a/boat", "boat"), ["a/boat", "b/boat"])
    for store, id in ((two_photos, "a/boat"), (two_files, "boat"), (path_wins, "b/boat")):
        with pytest.raises(UnusableFile, match="are called boat; lay the CAMs out as the photos are"):
            store.read(id)
    assert path_wins.read("a/boat")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("elsewhere") / "photos", count=4)


@pytest.fixture(scope="module")
def foreign(photos: Path) -> Path:
    """CAMs that light the left half of every photo, in a folder of another layout."""
    folder = photos.parent / "cams"
    for path in photos.glob("p*.png"):
        height, width = tiny.pixels(path).shape[:2]
        half = np.zeros((height, width), np.float32)
        half[:, : width // 2] = 1
        CamStore(folder, format="npy").write(f"train/{path.stem}", {0: half}, (height, width))
    return folder


def test_regions_without_sam(photos: Path, foreign: Path, tmp_path: Path) -> None:
    command = ["label", tmp_path / "out", "--cams", foreign, "--data", photos, "--method", "regions", "--threshold=0.5"]
    tiny.invoke(*command)
    labels = tiny.pixels(tmp_path / "out" / "p00.png")
    middle = labels.shape[1] // 2
    assert (labels[:, :middle] == 1).mean() > 0.3 + (labels[:, middle:] == 1).mean()
    named = ["--set", f"regions.model={tmp_path / 'no_sam'}"]
    assert "no_sam: no such file or folder" in tiny.refused(*command, *named)  # a SAM that is named is asked for


def test_scores_find_cams_by_name(photos: Path, foreign: Path, tmp_path: Path) -> None:
    said = tiny.invoke("score", tmp_path / "out", "--cams", foreign, "--data", photos).out
    assert "set aside" not in said


@pytest.mark.parametrize("text", ["1,1.5", "1, 1.5", "1 1.5", "[1,1.5]", "[1, 1.5]", "(1, 1.5)", "1;1.5"])
def test_lists_as_people_write_them(text: str) -> None:
    assert load_recipe("folder", [f"cams.scales={text}"]).cams.scales == (1.0, 1.5)


@pytest.mark.parametrize("text", ["1,", "1,,2", "one,two", ""])
def test_no_list(text: str) -> None:
    with pytest.raises(UserError, match=r"cams\.scales"):
        load_recipe("folder", [f"cams.scales={text}"])


def test_the_advised_command_mends_it(tmp_path: Path) -> None:
    """Scores of an earlier stage's CAMs, which a plain run does not make."""
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    out = tmp_path / "my run"
    tiny.invoke("run", recipe, "--data", photos, "--out", out, "--until", "warmup", "--set", "warmup.epochs=1")
    line = tiny.refused("score", out, "--stage", "warmup")
    advised = line.split("`")[1]
    assert advised == f"semples cams '{out}' --stage warmup"
    tiny.invoke(*shlex.split(advised)[1:])
    assert "CAMs at their best threshold" in tiny.invoke("score", out, "--stage", "warmup").out
