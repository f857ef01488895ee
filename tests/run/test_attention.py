"""`semples cams --attention DIR`: the attention between patches, a file a photo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semples.cams.make import scaled_inputs
from semples.data.dataset import open_dataset
from semples.generators.base import load_generator
from tests import tiny
from tests.prediction import material


def test_files_are_the_generators_attention(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    run = material.run(tmp_path / "run", photos)
    said = tiny.invoke("cams", run, "--attention", tmp_path / "maps").out
    assert "attention: " in said
    model: Any = load_generator(run / "refinement" / "generator.safetensors")
    about = json.loads((tmp_path / "maps" / "attention.json").read_text(encoding="utf-8"))
    assert about["patch_size"] == 8
    for item in open_dataset(photos).items:
        photo = open_dataset(photos).photo(item)
        ((view, _),) = scaled_inputs(photo, (1.0,), mean=model.mean, std=model.std)
        stored = np.load(tmp_path / "maps" / f"{item.id}.npy", allow_pickle=False)
        rows, columns = about["grids"][item.id]
        assert (rows, columns) == (photo.shape[0] // 8, photo.shape[1] // 8)
        assert stored.shape == (rows * columns,) * 2
        assert stored.dtype == np.float32
        expected = model.eval().patch_attention(view[None])[0]
        torch.testing.assert_close(torch.from_numpy(stored), expected, atol=1e-6, rtol=1e-5)
    tiny.invoke("cams", run, "--attention", tmp_path / "maps")  # a second call leaves them alone


def test_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    run = material.run(tmp_path / "run", photos)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "attention.json").write_text('{"weights": "others"}', encoding="utf-8")
    assert "attention of other weights" in tiny.refused("cams", run, "--attention", tmp_path / "maps")
    np.save(tmp_path / "photos.npy", np.zeros(2))
    assert ".npy files of something else" in tiny.refused("cams", run, "--attention", tmp_path)
