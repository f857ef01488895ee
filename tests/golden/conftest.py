"""Golden numbers: outputs of the published arithmetic. Another set of the same form can take their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = Path(os.environ.get("SEMPLES_GOLDEN", ROOT / ".." / "shared" / "golden"))
    if not folder.is_dir():
        pytest.skip(f"no golden files at {folder}; set SEMPLES_GOLDEN to their folder")
    return folder
