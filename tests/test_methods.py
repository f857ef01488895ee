"""`semples methods` lists what comes in kinds, with what other packages bring."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest import mock

from semples.settings.kinds import REGISTRIES
from tests import tiny


def test_everything_is_listed(tmp_path: Path) -> None:
    out = tiny.invoke("methods", "--json", tmp_path / "m.json").out
    listed = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    for chosen_by, registry in REGISTRIES.items():
        names = [entry["name"] for entry in listed if entry["chosen_by"] == chosen_by]
        assert names == list(registry.names())
        assert chosen_by in out
    assert all(entry["about"] and entry["settings"] for entry in listed if entry["chosen_by"] in REGISTRIES)
    formats = {"--data": "voc", "data import --format": "coco", "export FORMAT": "gallery"}
    for chosen_by, name in formats.items():
        (entry,) = [entry for entry in listed if (entry["chosen_by"], entry["name"]) == (chosen_by, name)]
        assert len(entry["about"]) > 10


def test_what_one_can_be_told() -> None:
    out = tiny.invoke("methods", "clip").out
    assert "class_template" in out  # the judge's
    assert "unit_length" in out  # the features'
    assert "felzenszwalb" not in out
    assert "nothing is called 'clipp'" in tiny.refused("methods", "clipp")


def test_things_of_other_packages() -> None:
    mine = EntryPoint("mine", "tests.contract.test_label_methods:Learned", "semples.label_methods")
    broken = EntryPoint("broken", "no_such_package:Name", "semples.features")
    points = {point.group: [point] for point in (mine, broken)}
    with mock.patch("semples.core.registry.entry_points", lambda *, group: points.get(group, [])):
        out = tiny.invoke("methods").out
    lines = {name: next(line for line in out.splitlines() if f" {name} " in line) for name in ("mine", "broken")}
    assert "brighter than the mean" in lines["mine"]
    assert "cannot be imported" in lines["broken"]


def test_every_method_has_its_section() -> None:
    """docs/methods.md tells of each shipped name, below the heading of what chooses it."""
    text = (tiny.ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")}
    for chosen_by, registry in REGISTRIES.items():
        heading = next((line for line in sections if f"(`{chosen_by}`)" in line), None)
        assert heading is not None, f"docs/methods.md has no section for {chosen_by}"
        parts = dict(part.split("\n", 1) for part in sections[heading].split("\n### ")[1:])
        for name in registry.shipped:
            assert len(parts.get(f"`{name}`", "").strip()) > 15, f"docs/methods.md says nothing of {chosen_by} {name}"
