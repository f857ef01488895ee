"""Settings of the segmenter that follow the photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semples.data.dataset import open_dataset
from semples.recipe import load_recipe
from semples.run.steps.segmenter import settled
from tests import tiny


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(375, 500)] * 3, 256),
        ([(96, 96)] * 3, 96),
        ([(40, 900)] * 3, 96),
        ([(200, 300), (210, 220), (4000, 6000)], 192),
    ],
)
def test_views_and_steps_follow_the_photos(sizes: list[tuple[int, int]], side: int, tmp_path: Path) -> None:
    lines = ["image,tags"]
    for index, (height, width) in enumerate(sizes):
        tiny.save(tmp_path / f"p{index}.png", np.zeros((height, width, 3), np.uint8))
        lines.append(f"p{index}.png,boat")
    (tmp_path / "tags.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = open_dataset(tmp_path)
    segmenter = load_recipe("folder", ["segmenter.auto_iterations=100"]).segmenter
    chosen = settled(segmenter, dataset)
    assert (chosen.image_size, chosen.iterations) == (side, 50)
    fixed = load_recipe("folder", ["segmenter.image_size=64", "segmenter.iterations=7"]).segmenter
    assert settled(fixed, dataset) == fixed
