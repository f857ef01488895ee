"""Learning rates of every epoch of the published settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semples.recipe import load_recipe
from semples.training.schedule import learning_rate

STAGES = {"a": "matching", "b": "prompting", "c": "refinement"}


def test_rates_and_decay(golden: Path) -> None:
    stored = {
        key: value
        for key, value in json.loads((golden / "g8_schedule.json").read_text(encoding="utf-8")).items()
        if "_" in key
    }
    stored = {key: value for key, value in stored.items() if "lr_used_in_epoch" in value}
    assert stored
    for key, expected in stored.items():
        recipe, stage = key.split("_")
        settings = getattr(load_recipe(recipe), STAGES[stage])
        rates = [learning_rate(settings, epoch, batch=settings.batch) for epoch in range(settings.epochs)]
        assert rates == pytest.approx(expected["lr_used_in_epoch"], rel=1e-9), key
        assert settings.epochs == len(expected["lr_used_in_epoch"])
        (group,) = expected["groups"]
        assert [settings.beta1, settings.beta2] == group["betas"]
        assert (settings.adam_epsilon, settings.weight_decay) == (group["eps"], group["weight_decay"])
