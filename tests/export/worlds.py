"""Small exports' sources: photos, label maps and CAMs in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from semples.cams.store import CamStore
from semples.core.palette import write_label_png
from semples.data.dataset import ClassList, FileDataset, Item
from semples.export import ExportSource

CLASSES = ("tv monitor", "größe & <b>", "日本語")
IDS = ("a", "été/a b", "été/c#1", "d/e/f%20g", "z.y")


def make_source(
    root: Path, label_maps: Mapping[str, np.ndarray], *, classes: tuple[str, ...] = CLASSES
) -> ExportSource:
    """A source with a random photo for each label map (H, W); CAMs of the classes that it holds."""
    rng = np.random.default_rng(0)
    store = CamStore(root / "cams", format="npy")
    items = []
    for id, labels in label_maps.items():
        photo = root / "photos" / f"{id}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)).save(photo)
        write_label_png(root / "labels" / f"{id}.png", labels)
        tags = tuple(int(label) - 1 for label in np.unique(labels) if 0 < label < 255)
        store.write(id, {index: rng.random(labels.shape, dtype=np.float32) for index in tags}, labels.shape)
        items.append(Item(id, photo, tags))
    dataset = FileDataset("world", root / "photos", ClassList(classes), tuple(items), ())
    return ExportSource(dataset, root / "labels", cams=store)


def blobs(height: int, width: int, *, seed: int = 0, ignored: bool = True) -> np.ndarray:
    """A label map (H, W) with discs, rings, crumbs and, where wanted, ignored pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint8)
    for label in (1, 2, 3, 1):
        distance = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
        labels[distance < rng.uniform(0.15, 0.35) * min(height, width)] = label
        labels[distance < rng.uniform(0, 0.12) * min(height, width)] = 0
    crumbs = rng.integers(0, labels.size, 12)
    labels.flat[crumbs] = rng.integers(1, 4, 12)
    if ignored:
        labels[-max(1, height // 10) :] = 255
    return labels


@st.composite
def label_maps(draw: st.DrawFn, *, max_side: int = 14) -> np.ndarray:
    """Label maps (H, W) of any small size: empty, full, noisy, of blocks."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    values = draw(st.sampled_from([(0,), (1,), (255,), (0, 1), (0, 2, 3), (0, 1, 2, 3, 255)]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = rng.choice(np.array(values, np.uint8), (height, width))
    block = draw(st.sampled_from([1, 1, 2, 5]))
    return np.kron(labels, np.ones((block, block), np.uint8))


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """One to three label maps by id."""
    ids = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True))
    return {id: draw(label_maps()) for id in ids}
