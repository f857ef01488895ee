"""Outlines as programs write them, as COCO's polygons: lists [x1, y1, x2, y2, ...]."""

from __future__ import annotations

import math
from typing import Any

CORNERS = 72  # of a polygon that stands for an ellipse


def number(value: Any) -> float | None:
    """A finite number, also written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def polygon(points: Any) -> list[float] | None:
    """Corners [[x, y], ...] or [{"x": x, "y": y}, ...] as one list; None for less than three or anything else."""
    flat: list[float] = []
    for point in points if isinstance(points, list) else []:
        pair = (point.get("x"), point.get("y")) if isinstance(point, dict) else point
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return None
        x, y = number(pair[0]), number(pair[1])
        if x is None or y is None:
            return None
        flat += [x, y]
    return flat if len(flat) >= 6 else None


def ellipse(
    x: Any, y: Any, radius_x: Any, radius_y: Any, *, turned: Any = 0.0, aspect: float = 1.0
) -> list[float] | None:
    """An ellipse round (x, y), turned by degrees; `aspect`: how much longer a unit of x is than one of y, in pixels."""
    values = [number(value) for value in (x, y, radius_x, radius_y, turned)]
    if any(value is None for value in values):
        return None
    cx, cy, rx, ry, degrees = (value or 0.0 for value in values)
    if rx <= 0 or ry <= 0:
        return None
    angle = math.radians(degrees)
    flat = []
    for step in range(CORNERS):
        turn = 2 * math.pi * step / CORNERS
        along, across = rx * math.cos(turn) * aspect, ry * math.sin(turn)
        flat += [cx + (along * math.cos(angle) - across * math.sin(angle)) / aspect]
        flat += [cy + along * math.sin(angle) + across * math.cos(angle)]
    return flat


def flat_polygons(outline: Any) -> Any:
    """COCO's `segmentation` without empty polygons; None where nothing is left, so that it is no outline.

    One polygon in place of a list of them is accepted. What is neither polygons nor a code stays, to be refused later.
    """
    if isinstance(outline, dict):
        counts = outline.get("counts")
        return None if counts in (None, [], "") else outline
    if not isinstance(outline, list):
        return outline or None
    if outline and all(number(value) is not None for value in outline):
        outline = [outline]
    kept = [piece for piece in outline if not (isinstance(piece, list) and len(piece) < 6)]
    return kept or None
