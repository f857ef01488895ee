"""`semples methods` lists what comes in kinds, with what other packages bring."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from semples.commands.methods import every
from semples.core.registry import Facts, Registry
from semples.segmenter.licences import known_licence
from semples.settings.kinds import LABEL_METHODS, REGISTRIES
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


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_every_shipped_thing_tells_source_licence_and_needs(registry: Registry[Any]) -> None:
    assert set(registry.facts) == set(registry.shipped)
    for name in registry.shipped:
        (told,) = [entry for entry in every(name) if entry["kind"] == registry.kind]
        assert told["source"]
        assert len(told["needs"]) > 3
        assert told["licence"]
        assert "not known" not in told["licence"], f"{name}: name its weights in segmenter/licences.py"


def test_facts_are_shown_short_and_long() -> None:
    for out in (tiny.invoke("methods").out, tiny.invoke("methods", "sam3").out):
        for told in (
            "SAM 3 (Meta, 2025)",
            "gated (commercial use: unknown)",
            "a SAM 3 that knows the classes by words",
        ):
            assert told in out


@pytest.mark.parametrize(
    ("weights", "licence", "commercial"),
    [
        ("CIDAS/clipseg-rd64-refined", "Apache-2.0", "yes"),
        ("IDEA-Research/grounding-dino-base", "Apache-2.0", "yes"),
        ("facebook/sam-vit-huge", "Apache-2.0", "yes"),
        ("facebook/sam3", "SAM License, Meta's own; gated", "unknown"),
        ("google/siglip2-base-patch16-224", "Apache-2.0", "yes"),
        ("facebook/metaclip-2-worldwide-b32", "CC BY-NC 4.0", "no"),
        ("timm/vit_small_patch14_reg4_dinov2.lvd142m", "Apache-2.0", "yes"),
    ],
)
def test_licences_of_weights(weights: str, licence: str, commercial: str) -> None:
    known = known_licence(weights)
    assert known is not None
    assert (known.licence, known.commercial) == (licence, commercial)


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
    told = Facts("me", "nothing", "MIT")
    with mock.patch("semples.core.registry.entry_points", lambda *, group: points.get(group, [])):
        out = tiny.invoke("methods").out
        with mock.patch("tests.contract.test_label_methods.Learned.FACTS", told, create=True):
            assert LABEL_METHODS.facts_of("mine") == told
        with mock.patch("tests.contract.test_label_methods.Learned.FACTS", "me", create=True):
            assert "its FACTS are not" in tiny.invoke("methods").out
        assert LABEL_METHODS.facts_of("mine") == Facts()
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
