"""Runs the documentation's notebooks in empty folders and stores what they show.

    python scripts/run_notebooks.py [--check] [docs/notebooks/NAME.ipynb ...]

--check: run them, but change no file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from semples.core.files import atomic_path

BOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("notebooks", type=Path, nargs="*")
    arguments = parser.parse_args()
    for path in arguments.notebooks or sorted(BOOKS.glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(book, timeout=600, resources={"metadata": {"path": folder}}).execute()
        print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in book.cells)} cells ran")
        for cell in book.cells:
            tidy(cell)
        if not arguments.check:
            with atomic_path(path) as temporary:
                nbformat.write(book, temporary)


def tidy(cell: nbformat.NotebookNode) -> None:
    """Leave out what differs each time: times, warnings of the machine, a second form of each picture."""
    cell.metadata.pop("execution", None)
    if cell.cell_type == "code":
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            output.get("data", {}).pop("image/jpeg", None)


if __name__ == "__main__":
    main()
