"""Tagged photos: readers, decoding, checks. Nothing here needs PyTorch except `transforms`, which is not imported."""

from semples.data.check import CheckReport, check, render
from semples.data.dataset import (
    VOC_CLASSES,
    ClassList,
    Item,
    PhotoError,
    Problem,
    TaggedDataset,
    open_dataset,
    with_items,
)
from semples.data.verify import Verified, verify_photos

__all__ = [
    "VOC_CLASSES",
    "CheckReport",
    "ClassList",
    "Item",
    "PhotoError",
    "Problem",
    "TaggedDataset",
    "Verified",
    "check",
    "open_dataset",
    "render",
    "verify_photos",
    "with_items",
]
