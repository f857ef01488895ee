"""`semples data check RUN`: the tags most worth a look, and proposals for photos without any."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.core.schema import to_yaml
from semples.recipe import load_recipe
from semples.run.context import Context, Source
from semples.run.folder import write_run
from tests import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder before its first step: red and green photos, of which one is tagged as the other; two untagged."""
    place = tmp_path_factory.mktemp("tags")
    photos = place / "photos"
    photos.mkdir()
    clip = tiny.save_clip(place / "clip")
    rng = np.random.default_rng(0)
    rows = [("image", "tags")]
    for number in range(30):
        colour = (190, 40, 40) if number % 2 else (40, 190, 40)
        noise = rng.integers(0, 40, (40, 40, 3))
        Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(photos / f"p{number:02d}.png")
        word = "red" if (number % 2) != (number == 11) else "green"
        if number < 28:
            rows.append((f"p{number:02d}.png", word))
    with open(photos / "tags.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    out = place / "run"
    out.mkdir()
    recipe = load_recipe(tiny.write_recipe(place / "tiny.yaml", clip))
    assert to_yaml(recipe)
    write_run(Context(recipe, Source(photos), out))
    return out


def test_the_wrong_tag_is_listed_first(run: Path, tmp_path: Path) -> None:
    out = tiny.invoke("data", "check", run, "--count", "2", "--json", tmp_path / "s.json").out
    listed = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert {entry["photo"] for entry in listed} == {"p11"}
    assert {(entry["class"], entry["tagged"]) for entry in listed} == {("green", True), ("red", False)}
    assert all((entry["probability"] < 0.5) == entry["tagged"] for entry in listed)
    assert "p11" in out


def test_photos_without_tags_get_proposals(run: Path, tmp_path: Path) -> None:
    tiny.invoke("data", "check", run, "--propose", tmp_path / "more.csv")
    with open(tmp_path / "more.csv", newline="", encoding="utf-8") as file:
        proposed = {row["image"]: row["tags"].split(";") for row in csv.DictReader(file)}
    assert set(proposed) == {"p28.png", "p29.png"}
    assert proposed["p28.png"][0] == "green"
    assert proposed["p29.png"][0] == "red"


def test_mistakes_are_one_line(run: Path, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    assert "is for the folder of a run" in tiny.refused("data", "check", photos, "--propose", tmp_path / "x.csv")
    assert "at least one tag" in tiny.refused("data", "check", run, "--count", "0")
