"""The documentation as a site: `make docs`. Nothing is fetched while it is built, or when it is read."""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "scripts"))

import reference_pages
import semples

project = "semples"
author = "the semples authors"
version = release = semples.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
root_doc = "index"
html_theme = "furo"
html_title = f"semples {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # the notebooks are run by tests/docs, and stored with what they showed
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Docstrings are plain text: signs that reStructuredText would read as markup are taken as they stand.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]
PLACE = re.compile(r"<!-- at: (\S+): (.+?) -->")


def place(match: re.Match[str]) -> str:
    """A comment that names a file and a line's text, as file and number, so that a reader can go there."""
    path, text = match.groups()
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    number = next((index for index, line in enumerate(lines, 1) if text in line), None)
    if number is None:
        raise ValueError(f"{path} has no line {text!r}")
    return f"`{path}:{number}`"


def show_places(_app: object, _name: str, source: list[str]) -> None:
    source[0] = PLACE.sub(place, source[0])


def literal_docstrings(_app: object, _what: str, _name: str, _item: object, _options: object, lines: list[str]) -> None:
    """Docstrings are written to be read in the code: shown line by line, with no markup in them."""
    shown = [f"| {line}" if line.strip() else "" for line in escaped(lines)]
    lines[:] = shown


def escaped(lines: list[str]) -> list[str]:
    return [re.sub(r"([*_|\\])", r"\\\1", line) for line in lines]


def write_reference(_app: object) -> None:
    reference_pages.main(DOCS / "reference")


def setup(app: object) -> None:
    app.connect("builder-inited", write_reference)  # type: ignore[attr-defined]
    app.connect("source-read", show_places)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", literal_docstrings)  # type: ignore[attr-defined]
