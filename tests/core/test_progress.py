"""Progress on standard error: plain lines where there is no terminal, and times as people say them."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from semples.core import progress
from semples.core.progress import counter, duration, track


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.4, "8 s"),
        (89, "89 s"),
        (90, "2 min"),
        (600, "10 min"),
        (5399, "1 h 30 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_everything_is_passed_on_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), label="x")) == [0, 1, 2, 3, 4]
    assert list(track(iter("ab"), label="x", total=2)) == ["a", "b"]
    assert list(track([], label="x")) == []
    assert capsys.readouterr().err == ""  # work that takes no time says nothing


def test_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))  # threads keep theirs
    with counter(label="matching", total=10, done=4) as advance:
        for step in range(6):
            clock[0] += 6
            advance(f"loss {step}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "matching: 6/10, 24 s left, loss 1",
        "matching: 8/10, 12 s left, loss 3",
        "matching: 10/10, loss 5",
    ]


def test_unknown_totals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))  # threads keep theirs
    with counter(label="x", total=None) as advance:
        clock[0] = 11
        advance("")
    assert capsys.readouterr().err == "x: 1\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(range(3), label="[cams]")) == [0, 1, 2]
    assert "3/3" in terminal.getvalue()
    assert "[cams]" in terminal.getvalue()  # a label is no markup
