"""Line charts as plain numbers and path texts; the template draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34


@dataclass(frozen=True)
class Series:
    """A named line through (x, y) points; `strong` ones are drawn thick."""

    name: str
    points: tuple[tuple[float, float], ...]
    strong: bool = False


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in pixels."""

    place: float
    label: str


@dataclass(frozen=True)
class Line:
    """What is drawn of a series: an SVG path, and its only point where there is one."""

    name: str
    path: str
    strong: bool
    dot: tuple[float, float] | None


@dataclass(frozen=True)
class Chart:
    """A chart of WIDTH x HEIGHT units; the plot goes from `left` to `right` and from `top` to `bottom`."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        return _place(value, self.x_range, self.left, self.right)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        return _place(value, self.y_range, self.bottom, self.top)


def line_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str) -> Chart | None:
    """A chart of all series on common axes; points that are not finite are left out. None where nothing is left."""
    kept = [(each, [p for p in each.points if math.isfinite(p[0]) and math.isfinite(p[1])]) for each in series]
    kept = [(each, points) for each, points in kept if points]
    if not kept:
        return None
    xs = [x for _, points in kept for x, _ in points]
    ys = [y for _, points in kept for _, y in points]
    x_range, y_range = _range(xs), _range(ys, pad=True)
    lines = []
    for each, points in kept:
        places = [
            (_place(x, x_range, LEFT, WIDTH - RIGHT), _place(y, y_range, HEIGHT - BOTTOM, TOP)) for x, y in points
        ]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        lines.append(Line(each.name, path, each.strong, places[0] if len(places) == 1 else None))
    return Chart(
        title,
        x_label,
        y_label,
        tuple(lines),
        tuple(Tick(_place(v, x_range, LEFT, WIDTH - RIGHT), label) for v, label in ticks(*x_range)),
        tuple(Tick(_place(v, y_range, HEIGHT - BOTTOM, TOP), label) for v, label in ticks(*y_range)),
        x_range,
        y_range,
    )


def ticks(low: float, high: float, *, count: int = 5) -> list[tuple[float, str]]:
    """Round numbers in low..high, about `count` of them, with their texts."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(index * step, f"{index * step + 0.0:.{digits}f}") for index in range(first, last + 1)]


def _range(values: Sequence[float], *, pad: bool = False) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    margin = (high - low) * 0.05 if pad else 0.0
    return low - margin, high + margin


def _place(value: float, span: tuple[float, float], start: float, end: float) -> float:
    return start + (value - span[0]) / (span[1] - span[0]) * (end - start)
