"""The health of every stage, as a person sees it: while running, in status, as JSON, in the report, and of tags."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tests import tiny
from tests.e2e.conftest import Material

pytestmark = pytest.mark.xdist_group("runs")

LOOKS = ("data", "warmup", "matching", "prompting", "refinement", "cams")
GRADES = {"good", "doubtful", "failed"}


def test_status_tells_the_health_of_every_stage(finished: Path, tmp_path: Path) -> None:
    told = tiny.invoke("status", finished, "--json", tmp_path / "status.json").out
    stored = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert tuple(stored["health"]) == LOOKS
    for verdict in stored["health"].values():
        assert verdict["grade"] in GRADES
        assert verdict["why"]
        assert bool(verdict["advice"]) == (verdict["grade"] != "good")
    assert not any(entry["step"].startswith("health") for entry in stored["steps"])
    for words in ("tags and judge", "warm-up", "(a) matching", "(b) prompting", "(c) refinement", "CAMs"):
        assert words in told
    assert "health-" not in told


def test_figures_are_those_of_the_files(finished: Path, material: Material) -> None:
    """The share of a photo that CAMs light, counted again from the stored CAMs."""
    from semples.cams.store import CamStore

    store = CamStore(finished / "cams")
    shares = [float((cam > 0.4).mean()) for id in store.ids() for cam in store.read(id).values()]
    stored = json.loads((finished / "health-cams/health.json").read_text(encoding="utf-8"))["figures"]
    assert stored["lit"] == pytest.approx(np.median(shares), abs=1e-3)
    assert stored["full"] == pytest.approx(np.mean([share > 0.9 for share in shares]), abs=1e-3)
    with open(material.photos / "tags.csv", encoding="utf-8", newline="") as file:
        pairs = sum(len([tag for tag in row["tags"].split(";") if tag]) for row in csv.DictReader(file))
    assert json.loads((finished / "health-warmup/health.json").read_text(encoding="utf-8"))["figures"]["pairs"] == pairs


def test_an_untrained_stage_has_failed(material: Material, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    untrained = ["--set=matching.epochs=0", "--set=prompting.epochs=0", "--until", "prompting"]
    err = tiny.invoke("run", material.recipe, "--data", material.photos, "--out", out, *untrained).err
    assert "failed: " in next(line for line in err.splitlines() if line.startswith("health-matching: done"))
    tiny.invoke("status", out, "--json", tmp_path / "status.json")
    stored = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))["health"]
    assert stored["matching"]["grade"] == stored["prompting"]["grade"] == "failed"
    assert "nothing" in stored["matching"]["why"]
    assert "refinement" not in stored  # outdated: of the stage as it was


def test_tags_most_worth_a_look(finished: Path, material: Material, tmp_path: Path) -> None:
    told = tiny.invoke("data", "check", finished, "--count", "5", "--json", tmp_path / "tags.json")
    listed = json.loads((tmp_path / "tags.json").read_text(encoding="utf-8"))
    assert len(listed) == 5
    doubts = [1 - tag["probability"] if tag["tagged"] else tag["probability"] for tag in listed]
    assert doubts == sorted(doubts, reverse=True)
    with open(material.photos / "tags.csv", encoding="utf-8", newline="") as file:
        tags = {Path(row["image"]).stem: row["tags"].split(";") for row in csv.DictReader(file)}
    assert all(tag["tagged"] == (tag["class"] in tags[tag["photo"]]) for tag in listed)
    assert listed[0]["photo"] in told.out
    assert "--count 0" in tiny.refused("data", "check", finished, "--count", "0")


def test_looks_change_no_bit_and_can_be_left_out(material: Material, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["run", material.recipe, "--data", material.photos, "--out", out, "--set=health.photos=0"]
    err = tiny.invoke(*command, "--until", "matching").err
    assert "health" not in err
    assert (out / "matching/generator.safetensors").read_bytes() == (
        finished / "matching/generator.safetensors"
    ).read_bytes()
    assert "health.photos is 0" in tiny.refused(*command, "--set=cams.from=best")


def test_held_out_photos_are_not_learned_from(material: Material, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["run", material.recipe, "--data", material.photos, "--out", out, "--set=health.held_out=0.4"]
    tiny.invoke(*command, "--set=cams.from=best")
    weights = [load_file(folder / "warmup/generator.safetensors") for folder in (out, finished)]
    assert any(not weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert len(list((out / "labels").glob("*.png"))) == 10
    stored = json.loads((out / "health-warmup/health.json").read_text(encoding="utf-8"))
    assert stored["figures"]["photos"] < 9
    assert "tags_held_out" in stored["figures"]
    manifest = json.loads((out / "cams/manifest.json").read_text(encoding="utf-8"))
    assert (
        manifest["result"]["stage"]
        == json.loads((out / "health-refinement/health.json").read_text(encoding="utf-8"))["figures"]["best"]
    )


def test_the_report_shows_verdicts(finished: Path, tmp_path: Path) -> None:
    tiny.invoke("report", finished, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="health">') :]
    section = section[: section.index("</section>")]
    for of in LOOKS:
        stored = json.loads((finished / f"health-{of}/health.json").read_text(encoding="utf-8"))
        assert f'<td class="grade {stored["grade"]}">' in section
    assert "health-warmup" not in page
