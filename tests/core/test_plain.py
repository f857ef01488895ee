"""No text of other people moves, hides or forges a line of the program's."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.core.plain import has_control, is_utf8, plain, short


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 日本語 😀 a b", "größe 日本語 😀 a b"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\nsemples: all is well\r\t", r"a\nsemples: all is well\r\t"),
        ("\x07\x9b\x7f", r"\x07\x9b\x7f"),
        ("a\u202egnp.exe\u2066", r"a\u202egnp.exe\u2066"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udcff\udce9", r"\xff\xe9"),
        ("\ud800", r"\ud800"),
        ("\ufeffa\u200b", r"\ufeffa\u200b"),
        ("\U000e0041", r"\U000e0041"),
        ("می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),
    ],
)
def test_signs_that_act_are_written_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.characters(), max_size=30) | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_what_is_left_acts_on_nothing(text: str) -> None:
    shown = plain(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    kinds = {unicodedata.category(sign) for sign in shown}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not turning & {unicodedata.bidirectional(sign) for sign in shown}
    assert plain(shown) == shown


def test_values_of_any_size() -> None:
    assert short(3) == "3"
    assert short("abc") == "'abc'"
    bomb: list[object] = ["x"]
    for _ in range(60):
        bomb = [bomb] * 9
    for value in (10**5000, "x" * 10**6, bomb, {"a": bomb}, list(range(10**6))):
        assert len(short(value)) <= 100


def test_names() -> None:
    assert is_utf8("größe")
    assert not is_utf8("caf\udce9")
    for name in ("a\nb", "a\x1b", "a\x85b", "a\u2028b", "\ud800", "a\tb"):
        assert has_control(name), name
    for name in ("dog", "tv monitor", "日本語", "\u202bعربي\u202c", "👩\u200d🚀"):
        assert not has_control(name), name
