"""Datasets as their publishers offer them, and annotations as other programs write them, made readable here.

`voc.get_voc` and `coco.get_coco` download, unpack and lay out; `importers.import_annotations` turns the files of
annotation programs into a tags file, a class list and, where outlines exist, masks.
"""

from semples.data.sources.coco import get_coco
from semples.data.sources.importers import import_annotations
from semples.data.sources.voc import get_voc

__all__ = ["get_coco", "get_voc", "import_annotations"]
