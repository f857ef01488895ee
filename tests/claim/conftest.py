"""The programs under test lie in scripts/ and benchmarks/, which import their neighbours by plain names."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in ("scripts", "benchmarks"):
    sys.path.append(str(Path(__file__).parents[2] / folder))
