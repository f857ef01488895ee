"""The benchmark of co-occurrence runs a world to its end, with either of the shipped CLIPs."""

from __future__ import annotations

from functools import partial

import pytest

import cooccurrence
from semples import demo
from semples.data.demo.world import CLASSES


@pytest.mark.slow
@pytest.mark.parametrize("clip", list(cooccurrence.CLIPS))
def test_a_world_to_its_end(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DemoSettings", partial(demo.DemoSettings, photos=10))
    figures = cooccurrence.run_world(0.9, 3, clip)
    assert set(figures["ranks"]) == set(CLASSES)
    assert all(0 < figures[state]["miou"] < 1 for state in cooccurrence.STATES)
    assert figures["control"]["auc"] != figures["refinement"]["auc"]
