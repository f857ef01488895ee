"""Prints the oldest versions that pyproject.toml allows, as constraints for pip.

python scripts/oldest.py > oldest.txt
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9A-Za-z.]*)")


def main() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        match = REQUIREMENT.match(requirement)
        if match is None:
            raise SystemExit(f"{requirement}: has no lower bound")
        name, version = match.groups()
        print(f"{name}>={version},{next_of(version)}")


def next_of(version: str) -> str:
    """`<` the release after this one: 1.26 is taken as 1.26.*, 5 as 5.0.*."""
    parts = [int(part) for part in version.split(".")[:2]]
    major, minor = parts if len(parts) == 2 else (parts[0], 0)
    return f"<{major}.{minor + 1}"


if __name__ == "__main__":
    main()
