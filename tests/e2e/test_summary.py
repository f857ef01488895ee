"""`summary.json`: of the form that is stated, true to the run, and with nothing in it that is only this machine's."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from semples.run import summary
from tests import tiny
from tests.e2e.conftest import Material

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
CONTRIBUTED = sorted((tiny.ROOT / "docs" / "contributed").glob("*.json"))


def problems(told: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(summary.schema())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(told)]


@pytest.fixture(scope="module")
def told(finished: Path) -> dict[str, Any]:
    return dict(json.loads((finished / summary.SUMMARY).read_text(encoding="utf-8")))


def test_it_is_of_its_form(told: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(summary.schema())
    assert problems(told) == []
    for name in told:
        assert problems({key: value for key, value in told.items() if key != name}), name
    assert problems(told | {"more": 1})
    assert problems(told | {"figures": {"labels": {"miou": 101}}})


def test_it_says_what_the_run_says(told: dict[str, Any], finished: Path) -> None:
    scores = json.loads((finished / "scores/scores.json").read_text(encoding="utf-8"))
    assert told["figures"]["labels"]["miou"] == scores["labels"]["miou"]
    assert told["figures"]["cams"]["last"]["miou"] == scores["cams"]["best"]["miou"]
    assert [row["class"] for row in told["figures"]["labels"]["classes"]] == ["background", "disc", "square"]
    assert told["data"]["photos"] == 10
    assert told["data"]["masks"] is not None
    settings = told["recipe"]["settings"]
    assert settings["warmup.epochs"] == 3
    assert told["recipe"]["sha256"] == hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    assert told["used_pixel_masks"] is False
    assert set(told["health"]) >= {"warmup", "matching", "prompting", "refinement"}
    for step, cost in told["cost"].items():
        manifest = json.loads((finished / step / "manifest.json").read_text(encoding="utf-8"))
        assert cost == {key: manifest[key] for key in ("seconds", "cpu_seconds")}
    assert sum(cost["cpu_seconds"] for cost in told["cost"].values()) > 0.5


def test_nothing_of_this_machine_is_in_it(finished: Path, material: Material) -> None:
    text = (finished / summary.SUMMARY).read_text(encoding="utf-8")
    for private in (str(material.photos.parent), str(Path.home()), "p00", '"/', ":/"):
        assert private not in text.replace("semples-summary/1", "")
    assert '"clip"' in text  # the folder of weights by its name


def test_what_is_out_of_date_is_left_out_and_masks_that_chose_are_told(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    tiny.invoke("label", run, "--select", "ground-truth")
    told = json.loads((run / summary.SUMMARY).read_text(encoding="utf-8"))
    assert problems(told) == []
    assert told["used_pixel_masks"] is True
    assert "scores" not in told["cost"]  # they are of the label maps before
    assert "labels" not in told["figures"]
    (run / summary.SUMMARY).unlink()
    tiny.invoke("report", run)
    assert json.loads((run / summary.SUMMARY).read_text(encoding="utf-8"))["figures"] == told["figures"]


@pytest.mark.parametrize("path", CONTRIBUTED, ids=lambda path: path.name)
def test_files_that_were_sent_in_are_of_their_form(path: Path) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    about = told.pop("about")
    assert {"command", "who"} <= about.keys()
    assert all(isinstance(value, str) and value for value in about.values())
    assert problems(told) == []
    settings = told["recipe"]["settings"]
    assert told["recipe"]["sha256"] == hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
