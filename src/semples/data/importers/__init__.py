"""Annotations of other programs into a folder with tags.csv. One file a format; nothing here is needed to train."""

from semples.data.importers.base import import_annotations

__all__ = ["import_annotations"]
