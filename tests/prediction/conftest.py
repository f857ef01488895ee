from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny
from tests.prediction import material


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages of three kinds of network; tests only read them."""
    folder = tmp_path_factory.mktemp("packages")
    return {family: material.package(folder / family, family) for family in ("semples_vit", "segformer", "mask2former")}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten photos of mixed sizes with a tags file; tests only read them."""
    return tiny.draw_photos(tmp_path_factory.mktemp("predicted") / "photos")


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a segmenter; tests only read it."""
    return material.run(tmp_path_factory.mktemp("run") / "run", photos)
