"""A run's baselines in its report, beside its own label maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.evaluation.confusion import Scores
from semples.inspect.report.facts import beside
from semples.run.context import Context
from tests import tiny
from tests.inspect.report.material import CLASSES, make_run
from tests.inspect.report.test_report import report
from tests.run.test_baseline import BRIGHT


def test_baselines_stand_beside_the_runs_own_label_maps(tmp_path: Path, whole_run: Context) -> None:
    assert beside(whole_run) == []
    assert "Beside other models" not in report(whole_run, tmp_path).text
    context = make_run(tmp_path, stages=("refinement",), prompts=False, steps=("curve", "labels", "scores"))
    tiny.invoke("baseline", context.out, "--model", BRIGHT, "--json", tmp_path / "bright.json")
    of_run = json.loads((context.folder("scores") / "scores.json").read_text(encoding="utf-8"))["labels"]
    bright = json.loads((tmp_path / "bright.json").read_text(encoding="utf-8"))["labels"]
    by_hand = Scores(*np.array([[12.25, 0.5, np.nan]] * 5), pixels=7).as_json(CLASSES)
    file = context.out / "baselines" / "zero" / "scores.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"labels": by_hand}), encoding="utf-8")
    rows = beside(context)
    assert [row["name"] for row in rows] == [
        "label maps of this run",
        f"baseline {BRIGHT.replace(':', '-')}",
        "baseline zero",
    ]
    assert [row["note"] for row in rows] == ["", "", "scored on other photos or masks"]
    for row, scores in zip(rows, (of_run, bright, by_hand), strict=True):
        assert row["means"][0] == scores["miou"]
        assert row["ious"] == [entry["iou"] for entry in scores["classes"]]
    text = report(context, tmp_path).text.partition("Beside other models")[2]
    shown = text.partition("baseline zero")[2]
    assert shown.startswith("scored on other photos or masks" + "6.4" * 5 + "12.2" + "0.5" + "–")
    assert f"{bright['miou']:.1f}" in text
    for wrong in (
        "{}",
        '{"labels": 3}',
        '{"labels": {"classes": [], "pixels": 1}}',
        "[",
        '{"labels": {"classes": [3]}}',
    ):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(UserError, match=r"scores\.json"):
            beside(context)
