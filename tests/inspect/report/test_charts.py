from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semples.inspect.report.charts import Series, line_chart, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6))
def test_ticks_are_few_even_and_inside(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    places = [place for place, _ in marks]
    assert 2 <= len(places) <= 7
    slack = 1e-6 * max(span, abs(low), 1)
    assert all(low - slack <= place <= low + span + slack for place in places)
    steps = [b - a for a, b in itertools.pairwise(places)]
    assert max(steps) - min(steps) <= slack


def test_ticks_read_as_round_numbers() -> None:
    assert [label for _, label in ticks(0, 1)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [label for _, label in ticks(-3, 2)] == ["-3", "-2", "-1", "0", "1", "2"]


def test_a_chart_spans_its_points_and_skips_what_is_not_finite() -> None:
    chart = line_chart("t", [Series("a", ((0, 1), (2, math.nan), (4, 3)))], x_label="x", y_label="y")
    assert chart is not None
    assert chart.lines[0].path.count("L") == 1
    assert (chart.x(0), chart.x(4)) == (chart.left, chart.right)
    assert chart.y(3) < chart.y(1)
    assert chart.top < chart.y(3)
    assert chart.y(1) < chart.bottom


@pytest.mark.parametrize("points", [((1.0, 5.0),), ((1.0, 5.0), (2.0, 5.0))])
def test_a_flat_line_or_a_single_point_has_a_place(points: tuple[tuple[float, float], ...]) -> None:
    chart = line_chart("t", [Series("a", points)], x_label="x", y_label="y")
    assert chart is not None
    assert "nan" not in chart.lines[0].path
    assert (chart.lines[0].dot is not None) == (len(points) == 1)


def test_no_point_no_chart() -> None:
    assert line_chart("t", [Series("a", ((0, math.inf),))], x_label="x", y_label="y") is None
