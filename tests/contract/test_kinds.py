"""What all shipped things in kinds share: settings of their own that say what they mean, made from defaults."""

from __future__ import annotations

import typing
from dataclasses import fields
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.core.registry import Registry
from semples.settings import kinds

KEYS = {"labels": "method", "regions": "proposals"}
GROUPS: list[tuple[str, Registry[Any]]] = [
    ("labels", kinds.LABEL_METHODS),
    ("regions", kinds.PROPOSALS),
    ("features", kinds.FEATURES),
    ("baselines", kinds.BASELINES),
]
ALL = [(group, registry, name) for group, registry in GROUPS for name in registry.shipped]


@pytest.mark.parametrize(("group", "registry", "name"), ALL, ids=lambda value: value if isinstance(value, str) else "")
def test_settings_say_what_they_mean(group: str, registry: Registry[Any], name: str) -> None:
    settings, key = registry.settings_of(name)(), KEYS.get(group, "kind")
    hints = typing.get_type_hints(type(settings))
    assert registry.load(name).Settings is type(settings)
    assert group == "labels" or getattr(settings, key) == name
    for entry in fields(settings):
        known = entry.metadata
        assert known["doc"], entry.name
        assert known["source"] or known["neutral"] or entry.name == key, f"{entry.name} has no source"
        assert known["weights"] == (entry.name in ("model", "sam")), f"{entry.name}: do its files count as read?"
        if hints[entry.name] in (int, float):
            assert known["low"] is not None, f"{entry.name} has no range"
            assert known["low"] <= getattr(settings, entry.name) <= (known["high"] or float("inf"))


@pytest.mark.parametrize(("group", "registry", "name"), ALL, ids=lambda value: value if isinstance(value, str) else "")
def test_every_thing_says_what_it_is(group: str, registry: Registry[Any], name: str) -> None:
    assert registry.about(name).endswith(".")
    assert registry.where(name) == "semples"


@pytest.mark.parametrize(("group", "registry"), GROUPS, ids=lambda value: value if isinstance(value, str) else "")
def test_other_things_are_refused(group: str, registry: Registry[Any]) -> None:
    with pytest.raises(UserError, match="not known"):
        registry.load("unheard-of")
    with pytest.raises(UserError, match="not a semples"):
        registry.load("collections:OrderedDict")


def test_the_dense_crf_in_names() -> None:
    for method, parts in (
        ("threshold", ("threshold", False)),
        ("crf", ("threshold", True)),
        ("threshold+crf", ("threshold", True)),
        ("regions+crf", ("regions", True)),
        ("pkg.mod:Name+crf", ("pkg.mod:Name", True)),
        ("regions+more", ("regions+more", False)),
    ):
        assert kinds.label_method(method) == parts
    assert [kinds.with_crf(method) for method in ("threshold", "crf", "regions", "regions+crf")] == [
        "crf",
        "crf",
        "regions+crf",
        "regions+crf",
    ]
    assert [kinds.without_crf(method) for method in ("threshold", "crf", "regions", "regions+crf")] == [
        "threshold",
        "threshold",
        "regions",
        "regions",
    ]
    assert [kinds.has_crf(method) for method in ("threshold", "crf", "regions+crf")] == [False, True, True]
    assert kinds.label_needs("regions+crf") == {"regions"}
    assert kinds.label_needs("crf") == frozenset()
