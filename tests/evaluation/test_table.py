from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from semples.evaluation.confusion import scores_from_confusion
from semples.evaluation.curve import CurveAccumulator
from semples.evaluation.table import curve_table, scores_table


def text_of(table: Table) -> list[str]:
    console = Console(width=100, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_score_table_shows_every_class_a_dash_where_there_is_no_figure_and_the_means() -> None:
    counts = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    lines = text_of(scores_table(scores_from_confusion(counts), ("[red]猫[/red]", "dog")))
    assert any("background" in line and "80.00" in line and "100.00" in line for line in lines)
    assert any("[red]猫[/red]" in line and "83.33" in line for line in lines)
    assert any("dog" in line and line.count("-") == 5 for line in lines)
    assert any("mean" in line and "81.67" in line for line in lines)
    with pytest.raises(ValueError, match="class names"):
        scores_table(scores_from_confusion(counts), ("cat",))


def test_curve_table_marks_best_and_first_peak() -> None:
    accumulator = CurveAccumulator(1, (0.1, 0.2, 0.3))
    accumulator.counts[1, 1] = [0, 0, 50, 50]
    accumulator.counts[0, 1] = [0, 0, 50, 0]
    lines = text_of(curve_table(accumulator.result()))
    marks = {line.split()[1]: ("best" in line, "first peak" in line) for line in lines if " 0." in line}
    assert marks == {"0.10": (False, True), "0.20": (False, False), "0.30": (True, False)}
