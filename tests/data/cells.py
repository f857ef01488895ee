"""Photos in Parquet and Arrow files, and what is read of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from semples.data import TaggedDataset
from tests.data.builders import complaint, png, write_parquet


def grey(shade: int, side: int = 8) -> np.ndarray:
    return np.full((side, side + 1, 3), shade, np.uint8)


def picture(shade: int, name: str | None = None) -> dict[str, Any]:
    return {"bytes": png(grey(shade)), "path": name}


def shades(dataset: TaggedDataset) -> list[int]:
    return [int(dataset.photo(item)[0, 0, 0]) for item in dataset.items]


def tags_of(dataset: TaggedDataset) -> list[tuple[str, ...]]:
    return [tuple(dataset.classes.names[tag] for tag in item.tags) for item in dataset.items]


def one_line(action: Any) -> str:
    said = complaint(action)
    assert said, "nothing was said"
    assert "\n" not in said
    return said


@contextmanager
def hugging_face() -> Iterator[Any]:
    """The library `datasets` without its bars."""
    import datasets

    datasets.disable_progress_bars()
    yield datasets


def in_parquet(photos: Path, **named: Any) -> bytes:
    """The folder of `tiny.draw_photos` as one file."""
    rows = [row.partition(",") for row in (photos / "tags.csv").read_text(encoding="utf-8").splitlines()[1:]]
    table = {
        "image": [{"bytes": (photos / name).read_bytes(), "path": name} for name, _, _ in rows],
        "tags": [[word for word in words.split(";") if word] for _, _, words in rows],
        "mask": [{"bytes": (photos / "masks" / name).read_bytes(), "path": None} for name, _, _ in rows],
    }
    path = write_parquet(photos.parent / "made.parquet", table, **named)
    data = path.read_bytes()
    path.unlink()
    return data
