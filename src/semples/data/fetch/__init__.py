"""Public data sets from their servers or archives into folders that the readers know."""

from semples.data.fetch.coco import get_coco
from semples.data.fetch.voc import get_voc

__all__ = ["get_coco", "get_voc"]
