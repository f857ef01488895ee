"""Tiny models, photos and one finished run that the end-to-end tests share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Material:
    """Folders and files that no test changes."""

    clip: Path
    recipe: Path
    photos: Path
    voc: Path


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    clip = tiny.save_clip(folder / "clip")
    photos = tiny.draw_photos(folder / "photos")
    return Material(clip, tiny.write_recipe(folder / "tiny.yaml", clip), photos, tiny.to_voc(photos, folder / "voc"))


@pytest.fixture(scope="session")
def finished(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run, made by a process of its own; tests only read it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    tiny.semples("run", material.recipe, "--data", material.photos, "--out", out)
    return out


@pytest.fixture(scope="session")
def real_photos() -> Path:
    folder = Path(os.environ.get("SEMPLES_PHOTOS", ROOT / ".." / "shared" / "photos"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}; set SEMPLES_PHOTOS to a folder of tagged photos with masks")
    return folder
