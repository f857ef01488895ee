"""Score tables for the terminal. The same figures for files come from `Scores.as_json` and `Curve.as_json`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from semples.evaluation.confusion import Scores
    from semples.evaluation.curve import Curve


def scores_table(scores: Scores, names: tuple[str, ...], *, title: str = "") -> Table:
    """One row a class, background first, and a last row of means; percent. `names`: the K foreground classes.

    Values that occur in neither truth nor prediction show a dash.
    """
    from rich.table import Table
    from rich.text import Text

    from semples.core.plain import plain

    if len(names) + 1 != len(scores.iou):
        raise ValueError(f"{len(names)} class names for {len(scores.iou) - 1} classes")
    table = Table(title=title or None)
    table.add_column("class")
    for heading in ("IoU", "precision", "recall", "false pos.", "false neg."):
        table.add_column(heading, justify="right")
    columns = (scores.iou, scores.precision, scores.recall, scores.false_positive, scores.false_negative)
    for value, name in enumerate(("background", *names)):
        last = value == len(names)
        table.add_row(Text(plain(name)), *(_percent(column[value]) for column in columns), end_section=last)
    means = scores.means().values()
    table.add_row("mean", *(_percent(math.nan if mean is None else mean) for mean in means))
    return table


def curve_table(curve: Curve, *, title: str = "") -> Table:
    """One row a threshold: mIoU, precision, recall in percent; the best and the published early stop are marked."""
    from rich.table import Table

    table = Table(title=title or None)
    for heading in ("threshold", "mIoU", "precision", "recall"):
        table.add_column(heading, justify="right")
    table.add_column("")
    best, peak = curve.best, curve.first_peak
    for point in curve.points:
        marks = [mark for mark, chosen in (("best", best), ("first peak", peak)) if point is chosen]
        scores = point.scores
        figures = (scores.miou, scores.mean_precision, scores.mean_recall)
        table.add_row(f"{point.threshold:.2f}", *(_percent(figure) for figure in figures), ", ".join(marks))
    return table


def _percent(figure: float) -> str:
    return "-" if math.isnan(figure) else f"{figure:.2f}"
