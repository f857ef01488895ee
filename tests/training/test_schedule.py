"""Learning rates by their formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.recipe import SegmenterSettings, StageSettings, load_recipe
from semples.settings.stages import automatic_steps
from semples.training.schedule import Course, learning_rate, settled, step_rate


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


def counted(**changes: Any) -> StageSettings:
    """Settings that count steps and say the rate itself."""
    return StageSettings(**{"epochs": "steps", "steps": 100, "base_lr": "lr", "lr": 1e-3} | changes)


def test_rates_by_step() -> None:
    settings = counted(rise=0.1, final_lr=1e-5)
    rates = [step_rate(settings, step, steps=100, batch=7) for step in range(100)]
    assert rates[:10] == pytest.approx([1e-3 * (step + 1) / 11 for step in range(10)])
    assert rates[10] == pytest.approx(1e-3)
    assert rates[55] == pytest.approx((1e-3 + 1e-5) / 2)
    assert 1e-5 < rates[99] < 1.2e-5
    assert step_rate(settings, 3, steps=100, batch=20) == rates[3]  # whatever the batch


def test_a_rate_for_512_photos_by_step() -> None:
    settings = counted(base_lr=0.512, lr="base_lr")
    assert step_rate(settings, 0, steps=100, batch=8) == pytest.approx(0.008)


def test_automatic_steps() -> None:
    assert automatic_steps(100, photos=300, classes=8) == 100
    assert automatic_steps(100, photos=3000, classes=8) == round(100 * 10**0.4)
    assert automatic_steps(100, photos=300, classes=32) == 200
    assert automatic_steps(100, photos=10, classes=2) == 50
    assert automatic_steps(100, photos=10**8, classes=200) == 1600
    assert automatic_steps(1, photos=1, classes=1) == 1


@given(photos=st.integers(1, 10**7), classes=st.integers(1, 254), base=st.integers(1, 10**5))
def test_more_photos_or_classes_never_take_fewer_steps(photos: int, classes: int, base: int) -> None:
    steps = automatic_steps(base, photos=photos, classes=classes)
    assert max(1, base // 2) <= steps <= 16 * base
    assert steps <= automatic_steps(base, photos=2 * photos, classes=classes)
    assert steps <= automatic_steps(base, photos=photos, classes=classes + 1)


def test_what_depends_on_photos_and_network_is_settled() -> None:
    settings = counted(steps="auto", auto_steps=80, lr_width=384)
    numbers = settled(settings, photos=300, classes=8, width=128)
    assert (numbers.steps, numbers.lr, numbers.lr_width) == (80, pytest.approx(3e-3), 0)
    assert settled(numbers, photos=9, classes=1, width=7) == numbers
    assert settled(settings, photos=300, classes=8).lr == 1e-3  # the width is not known
    voc = load_recipe("voc").matching
    assert settled(voc, photos=300, classes=8, width=128) == voc


@pytest.mark.parametrize("photos", [1, 10, 300])
def test_a_folder_of_any_size_has_a_course(photos: int) -> None:
    recipe = load_recipe("folder")
    for stage in (recipe.warmup, recipe.matching, recipe.prompting, recipe.refinement):
        course = Course.of(settled(stage, photos=photos, classes=8, width=384), photos=photos)
        assert course.batch == min(photos, stage.batch)
        assert course.length is not None
        assert course.whole_epochs(photos) == math.ceil(course.length / (photos // course.batch))
        assert (
            0
            < course.rate(course.length - 1, steps=course.length, steps_per_epoch=1)
            < course.rate(course.length // 2, steps=course.length, steps_per_epoch=1)
        )


def test_the_published_courses_are_as_they_were() -> None:
    """Epochs, rates scaled by the batch, rates by epoch."""
    recipe = load_recipe("voc")
    for stage, full in ((recipe.matching, 6.4e-5), (recipe.prompting, 0.025), (recipe.refinement, 6.4e-5)):
        course = Course.of(settled(stage, photos=10_582, classes=20, width=384), photos=10_582)
        assert (course.epochs, course.length) == (60, None)
        assert course.rate(0, steps=9900, steps_per_epoch=165) == pytest.approx(full)
        assert course.rate(165, steps=9900, steps_per_epoch=165) == pytest.approx(full)


def test_the_segmenter_counts_steps_as_before() -> None:
    course = Course.of(SegmenterSettings(iterations=50, lr=0.1), photos=3)
    assert (course.batch, course.length) == (3, 50)
