"""Hand-over to FMA-WSSS: CAMs as the published dictionaries, and seeds as palette PNG.

    cams/           NAME.npy: a dictionary {class index, 0-based: float32 (H, W) in 0..1} of the photo's classes
    seeds/          NAME.png: 0 background, class k as k + 1, 255 where the CAMs do not decide
    train.txt       the names, one a line
    classes.txt     the classes in order
    names.csv       the photos' ids, where a name is not the id

All maps have the photo's own size. A pixel is decided where the best of [threshold, CAMs] exceeds the second best by at
least `band`; a band of 0 leaves none open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.cams.store import Cams, CamStore
from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.palette import write_label_png
from semples.core.progress import track
from semples.core.schema import setting
from semples.data.dataset import IGNORE
from semples.export.base import Exporter
from semples.export.source import ExportSource
from semples.export.voc import write_classes, write_names
from semples.labels.threshold import label_map


@dataclass(frozen=True)
class Options:
    """How the seeds are made."""

    threshold: float | None = setting(
        None, "background threshold of the seeds; none: that of the run's label maps", low=0, high=1
    )
    band: float = setting(0.1, "least margin of a decided pixel", low=0, high=1)


class FmaWsss(Exporter):
    """Hand-over to FMA-WSSS: CAMs as the published dictionaries, and seeds as palette PNG."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write CAMs, seeds and lists."""
        if source.cams is None:
            raise UserError(
                "fma-wsss hands CAMs over, and predictions have none; export a run, or name a folder with CAMs (--cams)"
            )
        threshold = source.threshold if options.threshold is None else options.threshold
        names, count = source.flat_names, len(source.dataset.classes)
        store = CamStore(folder / "cams", format="npy")
        undecided = 0.0
        for item in track(source.dataset.items, label="export"):
            width, height = source.size(item)
            cams = resized(source.cams.read(item.id), (height, width))
            if any(not 0 <= index < count for index in cams):
                raise UserError(f"CAMs of {item.id}: class index {max(cams)}, but there are {count} classes")
            store.write(names[item.id], cams, (height, width))
            seeds = make_seeds(cams, (height, width), threshold=threshold, band=options.band)
            write_label_png(folder / "seeds" / f"{names[item.id]}.png", seeds)
            undecided += float((seeds == IGNORE).mean())
        write_text(folder / "train.txt", "".join(f"{name}\n" for name in names.values()))
        write_classes(folder / "classes.txt", source.dataset.classes)
        share = 100 * undecided / len(names)
        about = f"seeds at threshold {threshold:g}, band {options.band:g}: {share:.1f} % of the pixels undecided"
        return (about, *write_names(folder / "names.csv", names))


def resized(cams: Cams, shape: tuple[int, int]) -> Cams:
    """CAMs at (H, W), bilinear, where they were computed on a reduced photo."""
    return {
        index: cam
        if cam.shape == shape
        else np.asarray(Image.fromarray(cam).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)).clip(0, 1)
        for index, cam in cams.items()
    }


def make_seeds(cams: Cams, shape: tuple[int, int], *, threshold: float, band: float) -> NDArray[np.uint8]:
    """Labels (H, W) uint8 by the largest of [threshold, CAMs], 255 where it exceeds the second by less than `band`."""
    seeds = label_map(cams, shape, threshold=threshold)
    best = np.full(shape, np.float32(threshold))
    second = np.full(shape, -np.inf, np.float32)
    for cam in cams.values():
        second = np.maximum(second, np.minimum(best, cam))
        best = np.maximum(best, cam)
    seeds[best - second < np.float32(band)] = IGNORE
    return seeds
