"""CSV: the area of every class in every photo, in pixels and as a share."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semples.core.files import write_text
from semples.core.progress import track
from semples.export.base import Exporter, min_area_setting
from semples.export.source import ExportSource

FILE = "areas.csv"


@dataclass(frozen=True)
class Options:
    """What is left out."""

    min_area: int = min_area_setting()


class Areas(Exporter):
    """CSV: the area of every class in every photo, in pixels and as a share."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write areas.csv with columns image, class, pixels, share of the photo (0..1)."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "class", "pixels", "share"])
        rows = 0
        for item in track(source.dataset.items, label="export"):
            labels = source.label_map(item)
            for index, name in enumerate(source.dataset.classes.names):
                pixels = int(np.count_nonzero(labels == index + 1))
                if pixels >= options.min_area:
                    writer.writerow([item.id, name, pixels, f"{pixels / labels.size:.6f}"])
                    rows += 1
        write_text(folder / FILE, text.getvalue())
        return (f"{rows} areas in {FILE}",)
