"""Learning rates by their formulas."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.recipe import StageSettings
from semples.training.schedule import learning_rate


def test_late_cosine() -> None:
    settings = StageSettings(epochs=60, base_lr=5.12e-4)
    rates = [learning_rate(settings, epoch, batch=64) for epoch in range(60)]
    assert rates[0] == rates[1] == pytest.approx(6.4e-5)
    assert rates[31] == pytest.approx(3.2e-5)
    assert rates[59] == pytest.approx(6.4e-5 * 0.5 * (1 + math.cos(math.pi * 58 / 60)))
    assert rates[59] > 0


def test_cosine_with_a_rise_and_a_floor() -> None:
    settings = StageSettings(epochs=60, base_lr=6e-4, schedule="cosine", warmup_epochs=5, final_lr=1e-5)
    full = 6e-4 * 64 / 512
    rates = [learning_rate(settings, epoch, batch=64) for epoch in range(61)]
    assert rates[:5] == pytest.approx([1e-6 + (full - 1e-6) * e / 5 for e in range(5)])
    assert rates[30] == pytest.approx((full + 1e-5) / 2)
    assert rates[60] == pytest.approx(1e-5)


@given(
    epochs=st.integers(1, 100),
    batch=st.integers(1, 512),
    base=st.floats(1e-6, 1),
    schedule=st.sampled_from(["cosine", "late-cosine"]),
)
def test_rates_stay_between_zero_and_the_full_one(epochs: int, batch: int, base: float, schedule: str) -> None:
    settings = StageSettings(epochs=epochs, base_lr=base, schedule=schedule)  # type: ignore[arg-type]
    rates = [learning_rate(settings, epoch, batch=batch) for epoch in range(epochs)]
    assert rates[0] == pytest.approx(base * batch / 512)
    assert all(0 < rate <= base * batch / 512 * (1 + 1e-12) for rate in rates)
    assert rates == sorted(rates, reverse=True)
