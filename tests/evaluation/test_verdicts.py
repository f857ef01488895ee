"""Verdicts follow their figures."""

from __future__ import annotations

from typing import Any

import pytest

from semples.evaluation import verdicts
from semples.evaluation.verdict import Grade, Verdict

MASKS = {
    "photos": 60, "pairs": 80, "precision": 0.9, "precision_by_chance": 0.3, "tags": 0.86, "tags_by_chance": 0.05,
    "tags_by_chance_spread": 0.04, "lit": 0.15, "empty": 0.0, "full": 0.0, "flat": 0.0, "steady": 0.72,
    "edges": 1.5, "kept": 0.69, "left": 0.58,
}  # fmt: skip
DATA: dict[str, Any] = {
    "precision": 0.95, "precision_by_chance": 0.3, "judge_precision": 0.95, "tags": 0.93, "tags_by_chance": 0.05,
    "tags_by_chance_spread": 0.04, "judge": 0.93, "classes": {"a": {"photos": 9, "tags": 0.9, "judge": 0.9}},
}  # fmt: skip
AFTER = MASKS | {"kept": 0.73, "left": 0.5, "steady": 0.8}


def test_healthy_figures_are_good() -> None:
    assert verdicts.of_tags(DATA).grade == "good"
    assert verdicts.of_warmup(MASKS).grade == "good"
    assert verdicts.of_masks(AFTER, MASKS, DATA) == Verdict("good", verdicts.of_masks(AFTER, MASKS, DATA).why)
    assert verdicts.of_cams(MASKS).grade == "good"
    assert verdicts.of_masks(AFTER | {"moved": 0.03}, MASKS, DATA).grade == "good"
    assert verdicts.of_segmenter({"agreement": 0.8}).grade == "good"
    assert verdicts.of_segmenter({"agreement": 0.8, "moved": None}).grade == "good"
    assert verdicts.of_segmenter({"agreement": 0.8, "moved": 0.05}).grade == "good"


@pytest.mark.parametrize(
    ("verdict", "grade", "says"),
    [
        (verdicts.of_tags(DATA | {"tags": 0.1}), "failed", "no better than chance"),
        (verdicts.of_tags(DATA | {"judge": 0.05}), "failed", "hardly at all"),
        (verdicts.of_warmup(MASKS | {"tags": -0.05, "precision": 0.28}), "failed", "precision 0.28 (chance 0.30)"),
        (verdicts.of_warmup(MASKS | {"tags_held_out": 0.1, "precision_held_out": 0.35}), "failed", "held out"),
        (verdicts.of_warmup(MASKS | {"empty": 0.15, "full": 0.05}), "doubtful", "15% of the masks are empty"),
        (verdicts.of_warmup(MASKS | {"edges": 1.03}), "doubtful", "1.03 times as steep there as anywhere"),
        (verdicts.of_masks(MASKS, MASKS, DATA), "failed", "nothing has changed"),
        (verdicts.of_masks(AFTER | {"kept": 0.3}, MASKS, DATA), "failed", "worse than before"),
        (verdicts.of_masks(AFTER, MASKS, {"judge": 0.01}), "failed", "does not know the classes"),
        (verdicts.of_cams({"lit": 0.99, "empty": 0.0, "full": 0.7}), "failed", "70% light the whole photo"),
        (verdicts.of_masks(AFTER | {"moved": 1.2}, MASKS, DATA), "doubtful", "1.2 times their own length"),
        (verdicts.of_segmenter({"agreement": 0.1}), "failed", "mIoU 10"),
        (verdicts.of_segmenter({"agreement": 0.1, "moved": 2.0}), "failed", "mIoU 10"),
        (verdicts.of_segmenter({"agreement": 0.8, "moved": 2.0}), "doubtful", "2.0 times their own length"),
    ],
)  # fmt: skip
def test_broken_figures_are_named(verdict: Verdict, grade: str, says: str) -> None:
    assert verdict.grade == grade
    assert says in verdict.why
    assert verdict.advice


def test_the_best_stage_by_steadiness_and_edges_and_a_later_one_where_two_are_close() -> None:
    stages: dict[str, tuple[Grade, dict[str, Any]]] = {
        "warmup": ("good", MASKS),
        "matching": ("good", AFTER),
        "refinement": ("good", AFTER | {"steady": 0.79}),
    }
    assert verdicts.best_stage(stages) == "refinement"
    assert verdicts.best_stage(stages | {"refinement": ("failed", AFTER)}) == "matching"
    assert verdicts.best_stage(stages | {"refinement": ("good", MASKS)}) == "matching"
    assert (
        verdicts.best_stage({"warmup": ("doubtful", MASKS | {"edges": 1.8}), "matching": ("good", AFTER)}) == "warmup"
    )
    assert verdicts.best_stage({"warmup": ("failed", MASKS), "refinement": ("failed", AFTER)}) == "refinement"
    assert verdicts.best_stage({"warmup": ("good", {}), "refinement": ("good", {})}) == "refinement"


def test_photos_are_asked_for_where_a_background_is_not_seen_alone() -> None:
    words = {"train": ["rails", "gravel"], "boat": ["water", "sea"]}
    figures = {"words": words, "alone": {"train": {"with": 40, "without": 1}, "boat": {"with": 40, "without": 9}}}
    asked = verdicts.photos_to_add(figures)
    assert "rails without train" in asked
    assert "boat" not in asked
    assert not verdicts.photos_to_add({"alone": figures["alone"]})  # no words
    assert not verdicts.photos_to_add({})
    learned = {
        "pairs": 80, "with_left": 0.5, "with_left_at_start": 0.1, "target": 0.2, "alike": 0.4, "named": 0.8,
        "named_by_chance": 0.3,
    }  # fmt: skip
    verdict = verdicts.of_backgrounds(figures | learned)
    assert (verdict.grade, verdict.advice) == ("good", asked)
    assert verdicts.of_backgrounds(figures | learned | {"with_left": 0.1}).grade == "failed"


def test_unknown_figures_break_nothing() -> None:
    nothing = {"tags": None, "judge": None}
    assert [verdict.grade for verdict in (
        verdicts.of_tags(nothing), verdicts.of_warmup({}), verdicts.of_masks({}, {}, {}),
        verdicts.of_backgrounds({}), verdicts.of_cams({}),
    )] == ["good"] * 5  # fmt: skip
