"""YAML is data of a bounded size, or one line."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.core.safeyaml import MAX_DEPTH, MAX_NODES, NotYaml, load_yaml
from tests.robust.texts import LAUGHS, RECIPES

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=12)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False) | WORDS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
        max_leaves=20,
    )
)
@settings(max_examples=60, deadline=None)
def test_what_people_write_is_read(tree: object) -> None:
    assert load_yaml(yaml.safe_dump(tree, allow_unicode=True), where="x") == tree


def test_aliases_and_merges_of_a_sensible_size() -> None:
    text = "base: &base {epochs: 3, batch: 4}\nwarmup: *base\nmatching: {<<: *base, epochs: 5}\n"
    assert load_yaml(text, where="x") == {
        "base": {"epochs": 3, "batch": 4}, "warmup": {"epochs": 3, "batch": 4}, "matching": {"epochs": 5, "batch": 4},
    }  # fmt: skip
    assert load_yaml("", where="x") is None
    assert load_yaml("1:30", where="x") == 90


def complaint(text: str) -> str:
    """The line with which text is refused; empty where it is read."""
    try:
        load_yaml(text, where="x")
    except UserError as error:
        return str(error)
    return ""


OUT_OF_BOUNDS = {
    "deep": ("[" * (MAX_DEPTH + 1), "levels deep"),
    "laughs": (LAUGHS, "aliases stand for"),
    "many": ("[" + "1," * (MAX_NODES + 1) + "]", "more than"),
    "itself": ("a: &a [*a]", "stands within itself"),
    "number": ("a: " + "9" * 5000, "a number of 5000 signs (line 1)"),
    "tagged number": ("a: !!int '" + "9" * 5000 + "'", "a number of 5000 signs"),
    "large": ("#" * 3_000_000, "too many"),
}


@pytest.mark.parametrize("name", OUT_OF_BOUNDS)
def test_bounds(name: str) -> None:
    text, part = OUT_OF_BOUNDS[name]
    with pytest.raises(UserError) as caught:
        load_yaml(text, where="file.yaml")
    assert str(caught.value).startswith("file.yaml: ")
    assert part in str(caught.value)
    assert not isinstance(caught.value, NotYaml)


@pytest.mark.parametrize("name", RECIPES)
def test_hostile_text_is_data_or_one_line(name: str) -> None:
    line = complaint(RECIPES[name])
    assert len(line) < 300
    assert "\n" not in line


@given(st.text(st.sampled_from("{}[]:,&*!? -\n'\"ab1.<|>#%@"), max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_data_or_one_line(text: str) -> None:
    assert "\n" not in complaint(text)
