"""The plug-in's generator, label method and export format, by name and by module:Name, and a run with all of them."""

from __future__ import annotations

import csv
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.core.registry import Registry
from semples.data.classes import ClassList
from semples.data.dataset import open_dataset
from semples.export import ExportSource, export_labels
from semples.settings import kinds
from tests import tiny
from tests.contract import test_label_methods
from tests.plugin.conftest import PLUGIN

CLASSES = ClassList(("disc", "square"))
PATHS = {
    "patch-cam": "semples_example_plugin.patch_cam:PatchCam",
    "hues": "semples_example_plugin.hues:Hues",
    "otsu": "semples_example_plugin.otsu:Otsu",
}
REGISTRIES: dict[str, Registry[Any]] = {
    "patch-cam": kinds.GENERATORS,
    "hues": kinds.JUDGES,
    "otsu": kinds.LABEL_METHODS,
}
CONTRACT = [
    test
    for name, test in vars(test_label_methods).items()
    if name.startswith("test_")
    and list(inspect.signature(test).parameters) == ["name"]
    and "higher_threshold" not in name  # of those whose labels only shrink; Otsu's do, but the list is its own
]


def test_everything_fits_a_page() -> None:
    for path in (PLUGIN / "src" / "semples_example_plugin").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, path


@pytest.mark.parametrize("name", PATHS)
def test_names_and_paths_are_the_same(name: str) -> None:
    registry = REGISTRIES[name]
    assert name in registry
    assert registry.load(name) is registry.load(PATHS[name])
    assert registry.settings_of(name) is registry.settings_of(PATHS[name])
    assert registry.where(name) == "semples-example-plugin"
    assert registry.about(name).endswith(".")


def test_they_are_listed(tmp_path: Path) -> None:
    tiny.invoke("methods", "--json", tmp_path / "m.json")
    listed = {entry["name"]: entry for entry in json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))}
    for name in PATHS:
        assert listed[name]["from"] == "semples-example-plugin"
        assert listed[name]["settings"]


# -------------------------------------------------------------------------------------------------------- label method


@pytest.mark.parametrize("name", ["otsu", "otsu+crf"])
@pytest.mark.parametrize("contract", CONTRACT, ids=lambda test: test.__name__)
def test_label_method_keeps_the_contract(contract: Callable[[str], None], name: str) -> None:
    if name == "otsu+crf" and "says_of_itself" in contract.__name__:
        pytest.skip("of plain methods")
    contract(name)


def test_labels_by_otsu() -> None:
    """A CAM of two values is cut between them, wherever they lie."""
    made = test_label_methods.made("otsu", otsu_share=1.0)
    photo = test_label_methods.given(tags=(1,))
    cam = np.full(photo.shape, 0.05, np.float32)
    cam[5:9, 3:20] = 0.2
    changed = test_label_methods.replace(photo, cams={1: cam})
    np.testing.assert_array_equal(made.label(changed, 0.9).labels, np.where(cam > 0.1, 2, 0))
    plain = test_label_methods.made("otsu", otsu_share=0.0)
    np.testing.assert_array_equal(
        plain.label(photo, 0.4).labels, test_label_methods.made("threshold").label(photo, 0.4).labels
    )


# ------------------------------------------------------------------------------------------------------ export format


def test_areas(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    dataset = open_dataset(photos)
    remarks = export_labels("areas", ExportSource(dataset, photos / "masks"), tmp_path / "out", min_area=5).remarks
    with open(tmp_path / "out" / "areas.csv", encoding="utf-8", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    expected = []
    for item in dataset.items:
        mask = tiny.pixels(photos / "masks" / f"{item.id}.png")
        for label, name in enumerate(dataset.classes.names, start=1):
            if (count := int((mask == label).sum())) >= 5:
                expected.append((item.id, name, str(count), f"{count / mask.size:.6f}"))
    assert rows == expected
    assert remarks == (f"{len(rows)} areas in areas.csv",)


# --------------------------------------------------------------------------------------------------------------- a run


RECIPE = """\
name: plug-in
generator: {{kind: "{generator}", image_size: 32}}
judge: {{kind: "{judge}", image_size: 32, hues: [0.36, 0.02]}}
labels: {{method: "{labels}", otsu_share: 0.4}}
prompts: {{length: 4}}
warmup: {{epochs: 2, batch: 4, base_lr: 0.5}}
matching: {{epochs: 1, batch: 4, cam_epsilon: relative}}
prompting: {{epochs: 1, batch: 4, cam_epsilon: relative}}
refinement: {{epochs: 1, batch: 4, cam_epsilon: relative}}
cams: {{scales: [1.0]}}
data: {{workers: 0}}
run: {{log_every: 1}}
"""


def test_a_run_with_all_of_them(installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line knows the plug-in by its entry points, in a process of its own, and by module:Name."""
    paths = [path for path in (os.environ.get("PYTHONPATH"), installed) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("SEMPLES_TRUST", "semples_example_plugin")
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    runs = {}
    for way, command in (("name", tiny.semples), ("path", tiny.invoke)):
        recipe, out = tmp_path / f"{way}.yaml", tmp_path / way
        chosen = {name: PATHS[name] if way == "path" else name for name in PATHS}
        recipe.write_text(
            RECIPE.format(generator=chosen["patch-cam"], judge=chosen["hues"], labels=chosen["otsu"]), encoding="utf-8"
        )
        command("run", "--data", photos, "--recipe", recipe, "--out", out)
        runs[way] = {path.name: tiny.pixels(path) for path in sorted((out / "labels").glob("p*.png"))}
    assert len(runs["name"]) == 6
    for name, labels in runs["name"].items():
        np.testing.assert_array_equal(labels, runs["path"][name])
    again = tiny.invoke(
        "run", "--data", photos, "--recipe", tmp_path / "name.yaml", "--out", tmp_path / "name", "--quiet"
    ).err
    assert again.count("up to date") == len(again.splitlines())
    assert "the judge hues knows no words" in tiny.refused("prompts", tmp_path / "name")
    tiny.invoke("label", tmp_path / "name", "--method", "otsu+crf", "--threshold", "0.4")
    assert "did you mean otsu" in tiny.refused("label", tmp_path / "name", "--method", "otsi")
    tiny.invoke("report", tmp_path / "name")
    assert "the judge hues knows no words" in (tmp_path / "name" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_demo_with_a_judge_without_words(tmp_path: Path) -> None:
    short = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
    short += ["--set=segmenter.iterations=2", "--set=cams.scales=[1.0]", "--set=labels.method=otsu", "--photos", "12"]
    out = tiny.invoke("demo", "--out", tmp_path, "--set=judge.kind=hues", "--set=generator.kind=patch-cam", *short).out
    assert "nearest words" not in out
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["prompt_words"] == {}
    assert summary["labels"]["method"] == "otsu"
