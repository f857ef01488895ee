"""Whether and how many photos are kept decoded, and that training has the same bits either way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.core.ranks import ALONE
from semples.core.temporary import machine_sign
from semples.data.dataset import open_dataset
from semples.data.photos import probe, read_photo
from semples.recipe import DataSettings
from semples.run import photos_once as deciding
from semples.run.photos_once import most_bytes, photos_once
from tests import tiny

GB = 10**9


@pytest.mark.parametrize(
    ("chosen", "needed", "most"),
    [
        (DataSettings(), 2 * GB, 2 * GB),  # a quarter of the memory
        (DataSettings(), 2 * GB + 1, 0),
        (DataSettings(cache_gb=1.5), 2 * GB, 0),
        (DataSettings(cache_gb=50), 3 * GB, 0),  # auto stays careful
        (DataSettings(cache="no"), 1, 0),
        (DataSettings(cache="no", cache_gb=1), 1, 0),
        (DataSettings(cache="memory"), 3 * GB, 3 * GB),
        (DataSettings(cache="memory"), 6 * GB, 4 * GB),
        (DataSettings(cache="memory", cache_gb=5), 6 * GB, 5 * GB),
        (DataSettings(cache="disk"), 50 * GB, 20 * GB),
        (DataSettings(cache="disk", cache_gb=30), 50 * GB, 30 * GB),
        (DataSettings(cache="disk", cache_gb=0), 50 * GB, 0),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: DataSettings, needed: int, most: int) -> None:
    monkeypatch.setattr(deciding, "free_memory", lambda: 8 * GB)
    monkeypatch.setattr(deciding, "free_disk", lambda folder: 100 * GB)
    assert most_bytes(chosen, needed, folder=tmp_path) == most


@dataclass
class Second:
    """The second of two processes, and what both tell."""

    told: Iterator[list[Any]]
    rank: int = 1
    count: int = 2
    asked: list[Any] = field(default_factory=list)

    def gather(self, mine: Any) -> list[Any]:
        self.asked.append(mine)
        return next(self.told)


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_processes_of_one_machine_share(tmp_path: Path, machine: str) -> None:
    dataset = open_dataset(tiny.draw_photos(tmp_path / "photos", count=4))
    sizes = {item.id: probe(item.photo) for item in dataset.items}
    settings = DataSettings(cache="memory")
    first = photos_once(dataset, sizes, settings, folder=tmp_path, ranks=ALONE)
    assert first.kept is not None
    kept = first.kept
    signs = [machine_sign() if machine == "the same" else "elsewhere", machine_sign()]
    told = [signs, [[kept.file.name, kept.layout.size, kept.spare], ["", 0, 0]]]
    second = photos_once(dataset, sizes, settings, folder=tmp_path, ranks=Second(iter(told)))  # type: ignore[arg-type]
    assert second.kept is not None
    first.photo(0)
    item = dataset.items[0]
    stat = item.photo.stat()
    there = second.kept.read(item.id, (stat.st_size, stat.st_mtime_ns))
    if machine == "the same":
        assert there is not None
        assert np.array_equal(there, read_photo(item.photo))
    else:
        assert there is None


def test_a_run_has_the_same_bits_with_and_without(tmp_path: Path) -> None:
    """Kept in memory, all of them; on disk, as many as have room, with two loading processes; not at all."""
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    photos = tiny.draw_photos(tmp_path / "photos")
    ways = {
        "none": ["data.cache=no"],
        "memory": [],
        "disk": ["data.cache=disk", "data.cache_gb=0.00002", "data.workers=2"],
        "small": ["data.train_side=30"],
    }
    results = {}
    for name, changes in ways.items():
        out = tmp_path / name
        line = ("run", recipe, "--data", photos, "--out", out, "--until", "warmup")
        tiny.invoke(*line, *(part for change in changes for part in ("--set", change)))
        results[name] = tiny.results_of(out)
        for path in ("recipe.yaml", "run.json"):  # hold the settings
            results[name].pop(path)
        assert not list(out.glob(".*photos*"))
    assert results["memory"] == results["none"]
    assert results["disk"] == results["none"]
    different = {name for name in results["none"] if results["small"][name] != results["none"][name]}
    assert "warmup/generator.safetensors" in different
    reads = json.loads((tmp_path / "small" / "warmup" / "manifest.json").read_text(encoding="utf-8"))["reads"]
    assert reads["setting:data.train_side"] == 30
    assert "setting:data.cache" not in reads
    assert not any(name.startswith("data/") for name in different)
