"""Pictures of the best, the middle and the worst photos of a benchmark on real photos (benchmarks/real.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from semples.cams.store import CamStore
from semples.core.palette import colour, read_label_png
from semples.data.dataset import Item, TaggedDataset
from semples.labels.threshold import winner_map


def draw_rows(
    dataset: TaggedDataset,
    maps: Path,
    folder: Path,
    *,
    cams: CamStore | None,
    kinds: Sequence[str],
    count: int = 6,
    height: int = 160,
) -> None:
    """best.jpg, middle.jpg and worst.jpg, `count` rows each: photo, CAM where there is one, label maps, truth.

    maps: holds a folder of label maps for each of `kinds`. Photos are ranked by the mean IoU of their tags in the last.
    """
    ranked = sorted(
        dataset.items, key=lambda item: -quality(dataset, item, read_label_png(maps / kinds[-1] / f"{item.id}.png"))
    )
    middle = max(0, (len(ranked) - count) // 2)
    parts = {"best": ranked[:count], "middle": ranked[middle : middle + count], "worst": ranked[-count:]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in parts.items():
        rows = [row_of(dataset, item, maps, cams=cams, kinds=kinds, height=height) for item in chosen]
        width = max(row.shape[1] for row in rows)
        page = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
        Image.fromarray(page).save(folder / f"{name}.jpg", quality=85)
        (folder / f"{name}.txt").write_text("".join(f"{item.id}\n" for item in chosen), encoding="utf-8")


def truth_of(dataset: TaggedDataset, item: Item) -> np.ndarray:
    truth = dataset.mask(item)
    assert truth is not None
    return truth


def quality(dataset: TaggedDataset, item: Item, labels: np.ndarray) -> float:
    """Mean IoU of the photo's tags."""
    truth, values = truth_of(dataset, item), [tag + 1 for tag in item.tags]
    both = [np.count_nonzero((labels == value) & (truth == value)) for value in values]
    either = [np.count_nonzero((labels == value) | (truth == value)) for value in values]
    return float(np.mean([int(one) / max(1, int(two)) for one, two in zip(both, either, strict=True)]))


def row_of(
    dataset: TaggedDataset, item: Item, maps: Path, *, cams: CamStore | None, kinds: Sequence[str], height: int
) -> np.ndarray:
    """A row of pictures of one photo, uint8 (height,w,3)."""
    photo, truth = dataset.photo(item), truth_of(dataset, item)
    tiles = [photo]
    if cams is not None:
        heat = (255 * winner_map(cams.read(item.id), truth.shape)[1].clip(0, 1)).astype(np.uint8)
        tiles.append(np.repeat(heat[..., None], 3, axis=2))
    tiles += [colour(read_label_png(maps / kind / f"{item.id}.png")) for kind in kinds]
    tiles.append(colour(truth))
    size = (max(1, round(height * truth.shape[1] / truth.shape[0])), height)
    return np.concatenate([np.asarray(Image.fromarray(tile).resize(size)) for tile in tiles], axis=1)
