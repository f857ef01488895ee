"""Annotations of other programs into a folder with tags.csv. One file a format; nothing here is needed to train.

To add a format, write a module with a class derived from `base.Importer` and give it a line in `registry.IMPORTERS`, or
name it in the entry points `semples.importers` of a package of your own.
"""

from semples.data.importers.importing import ImportResult, import_annotations
from semples.data.importers.registry import IMPORTERS

__all__ = ["IMPORTERS", "ImportResult", "import_annotations"]
