"""Commands that messages advise, whole and ready to be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

from semples.run.names import RECIPE, SEGMENTER, TRAINED
from semples.run.photos import Source


def go_on(out: Path, source: Source) -> str:
    """The command that brings all steps of the run in `out` up to date."""
    files = (("--tags", source.tags), ("--classes", source.classes))
    options = [("--data", source.root), ("--out", out), *((name, path) for name, path in files if path is not None)]
    return shlex.join(["semples", "run", str(out / RECIPE), *(str(word) for pair in options for word in pair)])


def that_makes(step: str, out: Path, source: Source) -> str:
    """The command that makes one step of the run in `out`: one of its own where a whole run has no such step."""
    name, _, stage = step.partition("-")
    words = {"cams": ["cams", str(out)], "regions": ["regions", str(out)], SEGMENTER: ["segment", "train", str(out)]}
    if stage and name == "cams":
        return shlex.join(["semples", *words[name], "--stage", stage])
    if step in ("regions", SEGMENTER):
        return shlex.join(["semples", *words[step]])
    if step in TRAINED:
        return shlex.join(["semples", "train", step, "--out", str(out)])
    return go_on(out, source)
